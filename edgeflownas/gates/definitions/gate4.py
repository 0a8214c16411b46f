"""Gate 4, delivery: a complete short run, its manifest, equal counts, launch scripts and the report."""

from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, none_of, same
from edgeflownas.gates.gate import REPORT_PICTURES
from edgeflownas.gates.lifecycle.evidence import BEST, LAST, Evidence
from edgeflownas.gates.requirements import SHORT_RUN_EPOCHS
from edgeflownas.reporting.launch_scripts import SCRIPT_NAME, compare_scripts, parse_script
from edgeflownas.reporting.pages import REPORT, REPORT_MARKDOWN
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import subnet_epes

RUN = "gate4"
LAUNCH_FOLDER = "launch"
# Manifest key -> config key of the same value; gate 4's own flags set the batch size, the rate and the epochs.
SAME_IN_CONFIG = {
    "seed": "seed",
    "wd": "train.weight_decay",
    "grad_clip": "train.grad_clip",
    "search_space": "network.search_space",
    "init_neurons": "network.init_neurons",
    "supernet_mode": "train.supernet_mode",
    "batch_size": "train.batch_size",
    "num_epochs": "train.num_epochs",
}


def _manifest(evidence: Evidence) -> dict[str, Any]:
    manifest: dict[str, Any] = evidence.json(RUN, "train_manifest.json", "train_manifest.schema.json")
    return manifest


def _epochs_complete(evidence: Evidence) -> Finding:
    rows = evidence.history(RUN)
    manifest = _manifest(evidence)
    observed = f"{len(rows)} evaluated, {manifest['epochs_done']} done, ended by {manifest['stopped_because']}"
    expected = f"{SHORT_RUN_EPOCHS} evaluated, {SHORT_RUN_EPOCHS} done, ended by num_epochs"
    return same(observed, expected)


def _checkpoints_there(evidence: Evidence) -> Finding:
    from edgeflownas.runs.checkpoints import load_checkpoint

    faults = []
    for name in (BEST, LAST):
        try:
            load_checkpoint(evidence.run(RUN) / name)
        except UserError as error:
            faults.append(str(error))
    return none_of(faults, "2 checkpoints with their checksums")


def _manifest_valid(evidence: Evidence) -> Finding:
    return none_of(manifest_faults(evidence.run(RUN) / "train_manifest.json"), "manifest and the files it names")


def _manifest_says_settings(evidence: Evidence) -> Finding:
    manifest = _manifest(evidence)
    values = read_json(evidence.run(RUN) / "config.json", schema="resolved_config.schema.json")["values"]
    faults = [
        f"{key} is {manifest[key]!r}, trained with {values[config_key]!r}"
        for key, config_key in SAME_IN_CONFIG.items()
        if manifest[key] != values[config_key]
    ]
    shape = [values["network.height"], values["network.width"], 6]
    if manifest["input_shape"] != shape:
        faults.append(f"input_shape is {manifest['input_shape']}, trained with {shape}")
    if manifest["lr_schedule"]["initial"] != values["train.lr"]:
        faults.append(f"lr_schedule begins at {manifest['lr_schedule']['initial']}, trained with {values['train.lr']}")
    return none_of(faults, f"{len(SAME_IN_CONFIG) + 2} settings")


def _same_data(evidence: Evidence) -> Finding:
    index = read_json(evidence.output_dir / "data_index.json", schema="data_index.schema.json")
    return same(_manifest(evidence)["data"]["digest"], index["digest"])


def _counts_equal(evidence: Evidence) -> Finding:
    report = evidence.json(RUN, "fairness_counts.json", "fairness_counts.schema.json")
    faults = []
    for block in evidence.space.blocks:
        expected = report["cycles"] * report["cycle_length"] // len(block.options)
        counts = report["counts"].get(block.name)
        if counts != [expected] * len(block.options):
            faults.append(f"{block.name}: {counts}, expected {expected} each")
    if report["fairness_gap"] != 0:
        faults.append(f"fairness_gap {report['fairness_gap']}")
    return none_of(faults, f"{len(evidence.space.blocks)} blocks after {report['cycles']} cycles")


def _launch_scripts_agree(evidence: Evidence) -> Finding:
    flags = [
        parse_script(evidence.bytes(RUN, f"{LAUNCH_FOLDER}/{place}/{SCRIPT_NAME}").decode(), place)
        for place in ("local", "hpc")
    ]
    return none_of(compare_scripts(*flags)[1], f"{len(flags[0])} flags")


def _report_complete(evidence: Evidence) -> Finding:
    row = evidence.history(RUN)[-1]
    expected = [*(",".join(code) for code in subnet_epes(row)), f"{row['mean_epe_12']:.4f}"]
    faults = []
    for name in (REPORT_MARKDOWN, REPORT):
        text = evidence.bytes(RUN, name).decode()
        faults += [f"{words} is not in {name}" for words in expected if words not in text]
        if name == REPORT_MARKDOWN:
            faults += [f"{path} is not shown in {name}" for path in REPORT_PICTURES if f"]({path})" not in text]
    faults += [f"{path} is empty" for path in REPORT_PICTURES if not evidence.bytes(RUN, path)]
    return none_of(faults, f"{len(subnet_epes(row))} subnets, mean EPE, {len(REPORT_PICTURES)} pictures")


CRITERIA = (
    Criterion(f"{SHORT_RUN_EPOCHS} epochs are complete and judged", _epochs_complete, ("train",)),
    Criterion("best and last checkpoint are there and undamaged", _checkpoints_there, ("train",)),
    Criterion(
        "the manifest and every file it names are valid, digests included", _manifest_valid, ("train", "check_manifest")
    ),
    Criterion("the manifest's settings are those of the run", _manifest_says_settings, ("train",)),
    Criterion("the run was trained on the indexed data", _same_data, ("train",)),
    Criterion("all options of a block were trained equally often", _counts_equal, ("train",)),
    Criterion(
        "local and cluster launch scripts differ in paths and resources only",
        _launch_scripts_agree,
        ("launch_scripts",),
    ),
    Criterion(
        "the training report and its page name every subnet of the pool and the mean EPE, and all pictures are there",
        _report_complete,
        ("training_report",),
    ),
)
