"""Gate 4, delivery: a complete short run, its manifest, equal counts, launch scripts and the report."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, none_of, same
from edgeflownas.gates.gate import TRAINING_KEYS, Command, Context, Gate
from edgeflownas.gates.lifecycle.evidence import BEST, HISTORY, LAST, Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, copy_of
from edgeflownas.gates.published_pages import page_of
from edgeflownas.gates.requirements import patience_for, steps_for, strict_fairness
from edgeflownas.gates.settings import GateSettings
from edgeflownas.provenance import COMPUTING_PACKAGES
from edgeflownas.reporting.launch_scripts import SCRIPT_NAME, compare_scripts, parse_script
from edgeflownas.reporting.pages import REPORT, REPORT_MARKDOWN, SHORT_RUN
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.pool_names import mean_epe
from edgeflownas.runs.records import subnet_epes

RUN = SHORT_RUN
SHORT_RUN_EPOCHS = 2
MANIFEST, MANIFEST_SCHEMA = "train_manifest.json", "train_manifest.schema.json"
LAUNCH_FOLDER = "launch"
# The pictures of the training report.
REPORT_PICTURES = (
    "pictures/epe.svg",
    "pictures/subnets.svg",
    "pictures/loss.svg",
    "pictures/gradients.svg",
    "pictures/ranking.svg",
    "pictures/time.svg",
    "pictures/fairness.svg",
    "pictures/flow.png",
)
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
    manifest: dict[str, Any] = evidence.json(RUN, MANIFEST, MANIFEST_SCHEMA)
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
    return none_of(manifest_faults(evidence.run(RUN) / MANIFEST), "manifest and the files it names")


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
    expected = [*(",".join(code) for code in subnet_epes(row)), f"{mean_epe(row):.4f}"]
    faults = []
    for name in (REPORT_MARKDOWN, REPORT):
        text = evidence.bytes(RUN, name).decode()
        faults += [f"{words} is not in {name}" for words in expected if words not in text]
        if name == REPORT_MARKDOWN:
            faults += [f"{path} is not shown in {name}" for path in REPORT_PICTURES if f"]({path})" not in text]
    faults += [f"{path} is empty" for path in REPORT_PICTURES if not evidence.bytes(RUN, path)]
    return none_of(faults, f"{len(subnet_epes(row))} subnets, mean EPE, {len(REPORT_PICTURES)} pictures")


CRITERIA = (
    Criterion(f"{SHORT_RUN_EPOCHS} epochs are complete and evaluated", _epochs_complete, ("train",)),
    Criterion("best and last checkpoint exist and are undamaged", _checkpoints_there, ("train",)),
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


def _short_run_comes_to_its_end(settings: GateSettings, steps: int | None) -> str | None:
    return steps_for(SHORT_RUN_EPOCHS, settings, settings.fast_steps_per_epoch)


def _short_run_is_not_cut(settings: GateSettings, steps: int | None) -> str | None:
    limit = settings.max_epochs
    if limit is None or limit >= SHORT_RUN_EPOCHS:
        return None
    return (
        f"train.max_epochs is {limit}, which ends the run before its {SHORT_RUN_EPOCHS} epochs; expected at least "
        f"{SHORT_RUN_EPOCHS}, or null"
    )


def _short_run_is_not_stopped_early(settings: GateSettings, steps: int | None) -> str | None:
    # It must end because its epochs are over, so that even the last may not be the one that stops.
    return patience_for(SHORT_RUN_EPOCHS, SHORT_RUN_EPOCHS, settings)


# The profile's settings of the site, by the names of Snakemake's Slurm plugin, go into the cluster's script as well.
SITE = {"slurm_account": "--account", "slurm_partition": "--partition"}


def _short_run(context: Context) -> list[Any]:
    sizes = ["--num_epochs", SHORT_RUN_EPOCHS, "--batch_size", context.settings.gate4_batch_size]
    flags = ["--gpu_device", 0, *sizes, "--lr", "1e-4", *context.data_flags, "--fast_mode"]
    return [*flags, "--output_dir", context.run(RUN)]


def _launch_scripts(context: Context) -> list[Any]:
    long = context.long_run_resources
    flags = ["--out", f"{context.run(RUN)}/{LAUNCH_FOLDER}", "--cpus", long["threads"], "--mem_mb", long["mem_mb"]]
    flags += ["--minutes", long["runtime"], "--gpus", long["gpu"]]
    site = [f"--sbatch={option}={context.job.get(name)}" for name, option in SITE.items() if context.job.get(name)]
    return [*flags, *site, "--", "python", *context.long_run]


COMMANDS = (
    Command("train", "edgeflownas.train_supernet", _short_run),
    Command(
        "check_manifest",
        "edgeflownas.nas.check_manifest",
        lambda context: ["--path", f"{context.run(RUN)}/{MANIFEST}"],
    ),
    Command("launch_scripts", "edgeflownas.reporting.launch_scripts", _launch_scripts),
    Command(
        "training_report", "edgeflownas.reporting.training_report", lambda context: ["--run_dir", context.run(RUN)]
    ),
)


def _rebased_manifest(evidence: Evidence, target: Path) -> None:
    """The run's manifest, with the paths of its files as seen from where it is published."""
    manifest = read_json(evidence.run(RUN) / MANIFEST, schema=MANIFEST_SCHEMA)
    beside = {artifact.path for artifact in evidence.gate.artifacts}
    write_json(target, rebased(manifest, Path("runs") / RUN, beside))
    # It names other files, which must be found from its new folder.
    if faults := manifest_faults(target):
        raise UserError(f"the published manifest is not valid: {faults[0]}")


def rebased(manifest: Mapping[str, Any], run: Path, beside: Collection[str]) -> dict[str, Any]:
    """A manifest whose files lie in `run`, relative to the manifest's new folder, or `beside` it."""
    files = {
        name: {**file, "path": file["path"] if file["path"] in beside else (run / file["path"]).as_posix()}
        for name, file in manifest["files"].items()
    }
    return {**manifest, "files": files}


GATE = Gate(
    number=4,
    title="delivery",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(
        Artifact("fairness_counts.json", "fairness_counts.schema.json", copy_of(RUN, "fairness_counts.json")),
        Artifact(HISTORY, None, copy_of(RUN, HISTORY)),
        *(Artifact(path, None, copy_of(RUN, path)) for path in (REPORT_MARKDOWN, *REPORT_PICTURES)),
        Artifact(REPORT, None, page_of(RUN, REPORT)),
        *(
            Artifact(f"scripts/{place}/{SCRIPT_NAME}", None, copy_of(RUN, f"{LAUNCH_FOLDER}/{place}/{SCRIPT_NAME}"))
            for place in ("hpc", "local")
        ),
        # Last, because it names others of these, which must be next to it.
        Artifact(MANIFEST, MANIFEST_SCHEMA, _rebased_manifest),
    ),
    config_keys=(*TRAINING_KEYS, "fast_mode.", "workflow."),
    requirements=(
        strict_fairness,
        *(_short_run_comes_to_its_end, _short_run_is_not_cut, _short_run_is_not_stopped_early),
    ),
    run_directories=(RUN,),
    packages=COMPUTING_PACKAGES,
    uses_data=True,
    sources=("scripts/hpc/*", "scripts/local/*", "edgeflownas/reporting/*.js"),
)
