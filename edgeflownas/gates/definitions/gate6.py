"""Gate 6, retraining: the picks of the selection, each trained alone, from the weights that it has in the supernet."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_file
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import Criterion, Finding, none_of
from edgeflownas.gates.gate import RETRAIN_KEYS, TRAINING_KEYS, Command, Context, Gate
from edgeflownas.gates.lifecycle.evidence import BEST, Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, copy_of
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.search_space import INIT_FROM, load_search_space
from edgeflownas.nas.single_subnet import space_of_one
from edgeflownas.provenance import COMPUTING_PACKAGES
from edgeflownas.retraining.picks import Taken, picks_of, read_selection
from edgeflownas.retraining.settings import RETRAINED, RETRAINED_SCHEMA, RUN
from edgeflownas.runs.checkpoints import read_header
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import COMPLETED
from edgeflownas.selection.select import SELECTION

LONG_RUN = "supernet"
MANIFEST = "train_manifest.json"
# How far the EPE before the first step may be from that of the selection, pixels: rounding, as in gate 5.
TOLERANCE_PX = 1e-5

Row = Mapping[str, Any]
"""A pick in `retrained.json`."""


def _retrained(evidence: Evidence) -> dict[str, Any]:
    retrained: dict[str, Any] = evidence.json(RUN, RETRAINED, RETRAINED_SCHEMA)
    return retrained


def _rows(evidence: Evidence) -> Iterator[tuple[str, Row, Path]]:
    """Each pick by what a finding calls it, its row, and its run directory."""
    for row in _retrained(evidence)["picks"]:
        yield f"{row['role']} ({row['run']})", row, evidence.run(RUN) / row["run"]


def _picks(evidence: Evidence) -> list[Taken]:
    selection = read_selection(evidence.output_dir / SELECTION)
    return picks_of(selection, evidence.space, evidence.settings.retrain_subnets)


def _of_the_selection(evidence: Evidence) -> Finding:
    retrained, picks = _retrained(evidence), _picks(evidence)
    selection = evidence.output_dir / SELECTION
    supernet = evidence.json(LONG_RUN, MANIFEST, "train_manifest.schema.json")["files"]["checkpoint_best"]["sha256"]
    alike = {
        SELECTION: (retrained["selection"]["sha256"], sha256_file(selection)),
        "the supernet's checkpoint": (retrained["selection"]["checkpoint"], supernet),
        "retrain.init": (retrained["init"], evidence.settings.retrain_init),
    }
    faults = [f"{name} is {own[:12]}, not {other[:12]}" for name, (own, other) in alike.items() if own != other]
    listed = [(row["number"], row["run"]) for row in retrained["picks"]]
    expected = [(pick.number, pick.digits) for pick in picks]
    if listed != expected:
        faults.append(f"trained were {listed}, the selection gives {expected}")
    return none_of(faults, f"{len(picks)} of {evidence.settings.retrain_subnets} picks")


def _runs_are_of_their_picks(evidence: Evidence) -> Finding:
    """By the identity in each checkpoint, which is what was trained, whatever any report says."""
    faults, names = [], []
    supernet = sha256_file(evidence.run(LONG_RUN) / BEST)
    inherits = evidence.settings.retrain_init == "supernet"
    codes = {pick.digits: pick.code for pick in _picks(evidence)}
    for name, row, run in _rows(evidence):
        identity = read_header(run / BEST)["identity"]
        blocks = space_of_one(evidence.space, codes[row["run"]])["blocks"]
        expected: dict[str, Any] = {INIT_FROM: supernet if inherits else None}
        expected |= {f"search_space.block.{block['name']}": [block["kind"], *block["options"]] for block in blocks}
        faults += [
            f"{name}: {key} is {identity.get(key)!r}, expected {value!r}"
            for key, value in expected.items()
            if identity.get(key) != value
        ]
        if sha256_file(run / BEST) != row["checkpoint"]["sha256"]:
            faults.append(f"{name}: its checkpoint is another one than {RETRAINED} names")
        names.append(name)
    return none_of(faults, f"{len(names)} runs, each of one subnet")


def _manifests_valid(evidence: Evidence) -> Finding:
    faults, runs = [], 0
    for name, row, run in _rows(evidence):
        faults += [f"{name}: {fault}" for fault in manifest_faults(run / MANIFEST)]
        if row["stopped_because"] not in COMPLETED:
            faults.append(f"{name}: ended by {row['stopped_because']}")
        runs += 1
    return none_of(faults, f"{runs} manifests and the files they name")


def _begin_as_selected(evidence: Evidence) -> Finding:
    expected = f"at most {TOLERANCE_PX:g} px from the selection's"
    words, faults = [], []
    for name, row, _ in _rows(evidence):
        if row["start_epe"] is None:
            words.append(f"{name}: random weights")
        elif row["otherwise"]:
            words.append(f"{name}: {row['start_epe']:.4f} px, evaluated otherwise ({'; '.join(row['otherwise'])})")
        else:
            distance = abs(row["start_epe"] - row["inherited_epe"])
            words.append(f"{name}: {row['start_epe']:.4f} px, {distance:.2g} px off")
            # Written so that a distance that is no number is too far.
            faults += [] if distance <= TOLERANCE_PX else [words[-1]]
    if not words:
        faults.append("no pick was trained")
    return Finding("; ".join(faults or words), expected, not faults)


def _improved(evidence: Evidence, of: Callable[[Row], tuple[str, float | None]]) -> Finding:
    """Whether every pick ends below a bound, in words and pixels; only stated without `retrain.must_improve`."""
    words, worse = [], []
    for name, row, _ in _rows(evidence):
        what, bound = of(row)
        if bound is None:
            words.append(f"{name}: {row['epe']:.4f} px; {what}")
            continue
        words.append(f"{name}: {row['epe']:.4f} px, {what} {bound:.4f} px")
        # Written so that an EPE that is no number is worse.
        worse += [] if row["epe"] < bound else [words[-1]]
    if not words:
        return Finding("no pick was trained", "each below it", False)
    if not evidence.settings.retrain_must_improve:
        warning = f"no better at the end: {'; '.join(worse)}" if worse else ""
        return Finding("; ".join(words), "stated (retrain.must_improve is false)", True, warning)
    return Finding("; ".join(worse or words), "each below it", not worse)


def _inherited(row: Row) -> tuple[str, float | None]:
    # What its own run found before the first step is of the same samples, whatever their size.
    if row["start_epe"] is not None:
        return "began at", row["start_epe"]
    if row["otherwise"]:
        return f"evaluated otherwise than in the selection ({'; '.join(row['otherwise'])})", None
    return "in the supernet", row["inherited_epe"]


def _order_stated(evidence: Evidence) -> Finding:
    order = _retrained(evidence)["order"]
    tau = "" if order["tau"] is None else f", tau {order['tau']:.2f}"
    observed = f"{order['swapped']} of {order['pairs']} pairs the other way round{tau}"
    return Finding(observed, "stated", True)


TOO_LITTLE = (
    "It may be too little training, or a learning rate that does not fit: look at train.num_epochs and train.lr in "
    "retrain.set, or train from scratch (retrain.init); retrain.must_improve false only states it"
)
CRITERIA: tuple[Criterion[Evidence], ...] = (
    Criterion(
        "the picks are the first ones of the selection in force, and from its supernet",
        _of_the_selection,
        ("train", "merge"),
    ),
    Criterion(
        "each run trained its pick's subnet alone, from the weights that retrain.init names",
        _runs_are_of_their_picks,
        ("train", "merge"),
    ),
    Criterion("every manifest and every file it names are valid, digests included", _manifests_valid, ("train",)),
    Criterion(
        "before its first step each pick has the EPE that it had in the selection", _begin_as_selected, ("train",)
    ),
    Criterion(
        "every pick ends better than it was in the supernet",
        lambda evidence: _improved(evidence, _inherited),
        ("train",),
        remedy=TOO_LITTLE,
    ),
    Criterion(
        "every pick ends better than predicting no motion",
        lambda evidence: _improved(evidence, lambda row: ("zero flow", row["zero_flow_epe"])),
        ("train",),
        remedy=TOO_LITTLE,
    ),
    Criterion("how the retrained picks' order differs from the supernet's", _order_stated, ("merge",)),
)


def _numbers(config: Config) -> list[str]:
    return [str(number + 1) for number in range(config.view(GateSettings).retrain_subnets)]


def _train(context: Context) -> list[Any]:
    supernet = f"{context.run(LONG_RUN)}/{BEST}"
    where = ["--selection", f"{context.output_dir}/{SELECTION}", "--supernet", supernet, "--out", context.run(RUN)]
    return [*context.data_flags, "--pick", context.part, *where]


COMMANDS = (
    # Not emptied when an attempt starts: what was trained for hours is kept, and continues if it is of the same pick.
    Command("train", "edgeflownas.retraining.train", _train, parts=_numbers, resources="long"),
    Command(
        "merge",
        "edgeflownas.retraining.merge",
        lambda context: [
            *context.config_flags,
            *("--selection", f"{context.output_dir}/{SELECTION}", "--runs", context.run(RUN)),
        ],
    ),
)


def _picked(output_dir: Path, config: Config) -> Any:
    """The picks' codes, without which the gate would go stale whenever a selection is written again."""
    settings = config.view(GateSettings)
    try:
        selection = read_selection(output_dir / SELECTION)
        picks = picks_of(selection, load_search_space(settings.search_space), settings.retrain_subnets)
    except UserError as error:
        return str(error)
    return [pick.digits for pick in picks]


GATE = Gate(
    number=6,
    title="retraining",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(Artifact(RETRAINED, RETRAINED_SCHEMA, copy_of(RUN, RETRAINED)),),
    config_keys=(*TRAINING_KEYS, "fast_mode.", "workflow."),
    own_keys=RETRAIN_KEYS,
    packages=COMPUTING_PACKAGES,
    uses_data=True,
    after_long_run=True,
    built_on=_picked,
)
