"""Gate 3, training loop: fair steps, clipping, exact resume, a repeatable evaluation, options that learn."""

import itertools
import math
from typing import Any

from edgeflownas.gates.criteria import Criterion, Finding, none_of, same
from edgeflownas.gates.gate import TRAINING_KEYS, Command, Context, Gate
from edgeflownas.gates.lifecycle.evidence import BEST, LAST, TRACE, Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, copy_of
from edgeflownas.gates.requirements import own_initial_weights, patience_for, steps_for, strict_fairness
from edgeflownas.gates.settings import GateSettings
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.fair_sampler import add_counts, empty_counts, fairness_gap
from edgeflownas.provenance import COMPUTING_PACKAGES
from edgeflownas.runs.pool_names import PoolNames, mean_epe
from edgeflownas.runs.records import METRICS, subnet_epes

# Steps of the traced run, epochs before and after the resume, and batches of each recalibration.
TRACED_STEPS = 30
EPOCHS_BEFORE_RESUME, EPOCHS_AFTER_RESUME = 3, 5
RECALIBRATION_BATCHES = 8
TRAINER = "edgeflownas.train_supernet"
TRACE_RUN, REPEAT_RUN, EPOCHS_RUN = "gate3_trace", "gate3_trace_repeat", "gate3_epochs"
# As in the 9-block space; `PoolNames.renamed` makes those of others of them.
POOL = PoolNames(12)
ROUNDING = 1e-6
# Gate 3 trains too little to claim more than that the error does not grow from the first epoch to the last.
GROWN = 1.1


def gate3_epochs(settings: GateSettings) -> int:
    """The epochs of gate 3's resumed run: 5, or all where a run has fewer."""
    return min(EPOCHS_AFTER_RESUME, settings.num_epochs)


def _manifest(evidence: Evidence, run: str) -> dict[str, Any]:
    manifest: dict[str, Any] = evidence.json(run, "train_manifest.json", "train_manifest.schema.json")
    return manifest


def _passes_per_step(evidence: Evidence) -> Finding:
    paths = evidence.space.cycle_length
    rows = evidence.trace(TRACE_RUN)
    faults = [
        f"step {row['step']}: forward {row['forward']}, backward {row['backward']}, optimizer {row['optimizer_step']}"
        for row in rows
        if (row["forward"], row["backward"], row["optimizer_step"]) != (paths, paths, 1)
    ]
    return none_of(faults, f"{len(rows)} steps with forward {paths}, backward {paths}, optimizer 1")


def _cycles_fair(evidence: Evidence) -> Finding:
    faults = []
    rows = evidence.trace(TRACE_RUN)
    for row in rows:
        counts = empty_counts(evidence.space)
        add_counts(counts, [parse_code(code, evidence.space) for code in row["codes"]], evidence.space)
        if len(row["codes"]) != evidence.space.cycle_length or fairness_gap(counts) != 0:
            faults.append(f"step {row['step']}: {' '.join(row['codes'])}")
    return none_of(faults, f"{len(rows)} cycles")


def _norm_clipped(evidence: Evidence) -> Finding:
    clip = evidence.settings.grad_clip
    # A step that is not finite has none: the criterion about its passes reports that.
    norms = [row["global_grad_norm_after"] for row in evidence.trace(TRACE_RUN)]
    largest = max((norm for norm in norms if norm is not None), default=math.inf)
    return Finding(f"largest {largest:.7g}", f"at most {clip:g} × (1 + 1e-6)", largest <= clip * (1 + ROUNDING))


def _steps_there(evidence: Evidence) -> Finding:
    in_epoch = _manifest(evidence, TRACE_RUN)["steps_per_epoch"]
    expected = min(TRACED_STEPS, in_epoch)
    steps = [row["step"] for row in evidence.trace(TRACE_RUN)]
    words = f"steps 0 to {expected - 1}" + (" (an epoch has no more)" if in_epoch < TRACED_STEPS else "")
    return Finding(_step_words(steps), words, steps == list(range(expected)))


def _step_words(steps: list[int]) -> str:
    if not steps:
        return "no step"
    if steps == list(range(len(steps))):
        return f"steps 0 to {len(steps) - 1}"
    position = next(i for i, step in enumerate(steps) if step != i)
    return f"step {steps[position]} where {position} was expected"


def _trace_repeats(evidence: Evidence) -> Finding:
    first, second = evidence.bytes(TRACE_RUN, TRACE), evidence.bytes(REPEAT_RUN, TRACE)
    if first == second:
        return Finding("same bytes", "same bytes", True)
    pairs = zip(first.splitlines(), second.splitlines(), strict=False)
    line = next((number for number, (a, b) in enumerate(pairs, start=1) if a != b), None)
    return Finding(f"first difference in line {line}" if line else "one is longer", "same bytes", False)


def _epochs_there(evidence: Evidence) -> Finding:
    epochs = [int(row["epoch"]) for row in evidence.history(EPOCHS_RUN)]
    return same(epochs, list(range(1, gate3_epochs(evidence.settings) + 1)))


def _epochs_judged(evidence: Evidence) -> Finding:
    names = evidence.pool_names
    pool = len(evidence.json(EPOCHS_RUN, names.file, "eval_pool.schema.json")["codes"])
    faults = []
    rows = evidence.history(EPOCHS_RUN)
    for row in rows:
        epes = list(subnet_epes(row).values())
        if len(epes) != pool:
            faults.append(f"epoch {row['epoch']}: {len(epes)} subnets instead of {pool}")
        elif not math.isclose(mean_epe(row), sum(epes) / pool, rel_tol=ROUNDING):
            faults.append(f"epoch {row['epoch']}: {names.mean_epe} {mean_epe(row)} is not the mean of its subnets")
        if row["fairness_gap"] != 0:
            faults.append(f"epoch {row['epoch']}: fairness_gap {row['fairness_gap']}")
    return none_of(faults, f"{len(rows)} epochs, {pool} subnets each, gap 0")


def _global_step_continuous(evidence: Evidence) -> Finding:
    manifest = _manifest(evidence, EPOCHS_RUN)
    rows = evidence.history(EPOCHS_RUN)
    faults = [
        f"epoch {row['epoch']} ends at step {row['global_step']}"
        for row in rows
        if row["global_step"] != row["epoch"] * manifest["steps_per_epoch"]
    ]
    steps = [row["step"] for row in evidence.trace(EPOCHS_RUN)]
    if steps != list(range(manifest["global_step"])):
        faults.append(f"trace: {_step_words(steps)}, {len(steps)} lines")
    if rows and manifest["global_step"] != rows[-1]["global_step"]:
        faults.append(f"manifest says step {manifest['global_step']}, history {rows[-1]['global_step']}")
    return none_of(faults, f"{manifest['global_step']} steps over the resume")


def _resumed_there(evidence: Evidence) -> Finding:
    before = [row for row in evidence.trace(EPOCHS_RUN) if row["epoch"] <= EPOCHS_BEFORE_RESUME]
    after = [row for row in evidence.trace(EPOCHS_RUN) if row["epoch"] > EPOCHS_BEFORE_RESUME]
    trained = evidence.log("resume")
    repeated = f"epoch 1/{evidence.settings.num_epochs} step 1/" in trained
    words = f"{len(before)} steps before, {len(after)} after{', epoch 1 trained twice' if repeated else ''}"
    return Finding(words, "steps before and after, none trained twice", bool(before and after) and not repeated)


def _last_names_its_epoch(evidence: Evidence) -> Finding:
    from edgeflownas.runs.checkpoints import read_header

    header = read_header(evidence.run(EPOCHS_RUN) / LAST)
    row = evidence.history(EPOCHS_RUN)[-1]
    return same(
        f"epoch {header['epoch']}, step {header['global_step']}", f"epoch {row['epoch']}, step {row['global_step']}"
    )


def _best_names_its_epoch(evidence: Evidence) -> Finding:
    from edgeflownas.runs.checkpoints import read_header

    header = read_header(evidence.run(EPOCHS_RUN) / BEST)
    best = min(evidence.history(EPOCHS_RUN), key=mean_epe)
    manifest = _manifest(evidence, EPOCHS_RUN)
    in_manifest = (manifest["best"] or {}).get("epoch")
    return same(
        f"epoch {header['epoch']}, in the manifest {in_manifest}",
        f"epoch {best['epoch']}, in the manifest {best['epoch']}",
    )


def _recalibrated(evidence: Evidence) -> Finding:
    report = evidence.json(EPOCHS_RUN, "supernet_eval.json", "supernet_eval.schema.json")
    faults = [
        f"{subnet['code']}: bn_recal_batches={subnet['bn_recal_batches']}"
        for subnet in report["subnets"]
        if subnet["bn_recal_batches"] != RECALIBRATION_BATCHES
    ]
    return none_of(faults, f"{len(report['subnets'])} subnets with bn_recal_batches={RECALIBRATION_BATCHES}")


def _evaluation_reads_back(evidence: Evidence) -> Finding:
    report = evidence.json(EPOCHS_RUN, "supernet_eval.json", "supernet_eval.schema.json")
    row = evidence.history(EPOCHS_RUN)[-1]
    equal = math.isclose(report["mean_epe"], mean_epe(row), rel_tol=ROUNDING)
    right = report["checkpoint"]["epoch"] == row["epoch"]
    observed = f"{report['mean_epe']:.9g} px at epoch {report['checkpoint']['epoch']}"
    return Finding(observed, f"{mean_epe(row):.9g} px at epoch {row['epoch']}", equal and right)


def _pool_covers(evidence: Evidence) -> Finding:
    report = evidence.json(EPOCHS_RUN, evidence.pool_names.file, "eval_pool.schema.json")
    faults = []
    for name, counts in report["coverage"].items():
        if set(counts) != {len(report["codes"]) // len(counts)}:
            faults.append(f"{name}: {counts}")
    return none_of(faults, f"{len(report['codes'])} subnets, {len(report['coverage'])} blocks")


def _against_no_motion(evidence: Evidence) -> Finding:
    rows = evidence.history(EPOCHS_RUN)
    row = rows[-1]
    first, ratio = (mean_epe(each) / each["zero_flow_epe"] for each in (rows[0], row))
    words = "better than" if ratio < 1 else "no better than"
    observed = (
        f"mean EPE {mean_epe(row):.3f} px is {ratio:.3f} of the zero-flow EPE {row['zero_flow_epe']:.3f} px: "
        f"{words} predicting no motion"
    )
    expected = f"stated; at most {GROWN:g} times the first epoch's {first:.3f}"
    return Finding(observed, expected, ratio <= GROWN * first)


def _subnets_differ(evidence: Evidence) -> Finding:
    subnets = evidence.json(EPOCHS_RUN, "supernet_eval.json", "supernet_eval.schema.json")["subnets"]
    alike = [
        f"{one['code']} and {other['code']}"
        for one, other in itertools.combinations(subnets, 2)
        if all(abs(one[metric] - other[metric]) <= ROUNDING for metric in METRICS)
    ]
    epes = [subnet["epe"] for subnet in subnets]
    return none_of(alike, f"{len(subnets)} subnets, EPE {min(epes):.4f} to {max(epes):.4f} px")


def _options_moved(evidence: Evidence) -> Finding:
    from edgeflownas.runs.checkpoints import load_checkpoint
    from edgeflownas.runs.weight_change import option_weight_changes

    settings = evidence.settings
    arrays = load_checkpoint(evidence.run(EPOCHS_RUN) / LAST).arrays
    changes = option_weight_changes(arrays, evidence.space, settings.init_neurons, settings.seed)
    unchanged = [f"{option} by {change:.1g}" for option, change in changes.items() if change <= ROUNDING]
    return none_of(unchanged, f"{len(changes)} options, the least by {min(changes.values()):.2%}")


CRITERIA = (
    Criterion(
        "every step ran each path forward and backward, and the optimizer once",
        _passes_per_step,
        ("trace",),
        remedy="A step whose loss or gradient is not finite counts like this, with train.on_nonfinite skip: "
        "nonfinite.json in the run directory names its samples; then look at train.lr and data.flow_scale",
    ),
    Criterion("the arch codes of every step use each option equally often", _cycles_fair, ("trace",)),
    Criterion("the gradient norm after clipping never exceeds the clip, up to rounding", _norm_clipped, ("trace",)),
    Criterion(f"the traced run has its {TRACED_STEPS} steps, in order", _steps_there, ("trace",)),
    Criterion("the traced run repeats bit for bit", _trace_repeats, ("trace", "trace_repeat")),
    Criterion("the history has one row per epoch, over the resume", _epochs_there, ("epochs", "resume")),
    Criterion(
        f"every epoch has {POOL.mean_epe}, {POOL.std_epe} and fairness_gap 0", _epochs_judged, ("epochs", "resume")
    ),
    Criterion("global_step is continuous, none repeated or skipped", _global_step_continuous, ("epochs", "resume")),
    Criterion("the second command continued the first", _resumed_there, ("resume",)),
    Criterion("supernet_last.ckpt names the last epoch", _last_names_its_epoch, ("resume",)),
    Criterion(
        f"supernet_best.ckpt names the epoch of the smallest {POOL.mean_epe}",
        _best_names_its_epoch,
        ("epochs", "resume"),
    ),
    Criterion(
        f"every evaluated subnet was recalibrated with {RECALIBRATION_BATCHES} batches", _recalibrated, ("evaluate",)
    ),
    Criterion(
        "evaluating the last checkpoint again gives the mean EPE that training logged",
        _evaluation_reads_back,
        ("evaluate",),
    ),
    Criterion("the eval pool uses every option of a block equally often", _pool_covers, ("epochs",)),
    Criterion(
        "the pool's error against that of predicting no motion does not grow",
        _against_no_motion,
        ("epochs", "resume"),
        remedy="Possibly nothing is broken: it may be too little training (train.steps_per_epoch, train.batch_size), a "
        "learning rate that is too high (train.lr), or too few validation samples to tell (eval.max_samples, "
        "data.synthetic.val)",
    ),
    Criterion(
        "no two subnets of the pool have the same metrics",
        _subnets_differ,
        ("evaluate",),
        remedy="That happens if next to nothing was learned, or if the network is too narrow: look at "
        "train.steps_per_epoch, train.lr and network.init_neurons",
    ),
    Criterion(
        "the weights of every option have left their initial values",
        _options_moved,
        ("resume",),
        remedy="It may be too little training: look at train.lr and train.steps_per_epoch",
    ),
)


def _recalibration_as_judged(settings: GateSettings, steps: int | None) -> str | None:
    batches = settings.bn_recal_batches
    if batches == RECALIBRATION_BATCHES:
        return None
    return (
        f"eval.bn_recal_batches is {batches}, but every subnet must be evaluated with {RECALIBRATION_BATCHES}, in "
        f"training as by the gate; set it to {RECALIBRATION_BATCHES}"
    )


def _epochs_left_to_resume(settings: GateSettings, steps: int | None) -> str | None:
    epochs = settings.num_epochs
    if epochs > EPOCHS_BEFORE_RESUME:
        return None
    return (
        f"train.num_epochs is {epochs}, which leaves nothing to resume after {EPOCHS_BEFORE_RESUME} epochs; expected "
        f"at least {EPOCHS_BEFORE_RESUME + 1}"
    )


def _full_batch(settings: GateSettings, steps: int | None) -> str | None:
    if steps != 0:
        return None
    return (
        f"train.batch_size is {settings.batch_size}, more than there are training samples, so an epoch has no "
        "step; lower it, or set train.steps_per_epoch"
    )


def _resumed_run_comes_to_its_end(settings: GateSettings, steps: int | None) -> str | None:
    return steps_for(gate3_epochs(settings), settings, steps)


def _resumed_run_is_not_stopped_early(settings: GateSettings, steps: int | None) -> str | None:
    # The first epoch is always the best so far, and the last may be the one that stops.
    epochs = gate3_epochs(settings)
    return patience_for(epochs, epochs - 1, settings)


REQUIREMENTS = (
    strict_fairness,
    own_initial_weights,
    _recalibration_as_judged,
    _epochs_left_to_resume,
    _full_batch,
    _resumed_run_comes_to_its_end,
    _resumed_run_is_not_stopped_early,
)


def _steps(context: Context, run: str) -> list[Any]:
    limits = ["--max_epochs", 1, "--max_steps", TRACED_STEPS]
    return [*context.data_flags, *limits, "--debug_trace", "--output_dir", context.run(run)]


def _epochs(context: Context, *flags: Any) -> list[Any]:
    return [*context.data_flags, "--debug_trace", "--output_dir", context.run(EPOCHS_RUN), *flags]


def _evaluation(context: Context) -> list[Any]:
    flags = ["--eval_only", "--bn_recal_batches", RECALIBRATION_BATCHES, "--checkpoint", "last"]
    return [*context.data_flags, *flags, "--output_dir", context.run(EPOCHS_RUN)]


COMMANDS = (
    Command("trace", TRAINER, lambda context: _steps(context, TRACE_RUN)),
    Command("trace_repeat", TRAINER, lambda context: _steps(context, REPEAT_RUN)),
    Command("epochs", TRAINER, lambda context: _epochs(context, "--max_epochs", EPOCHS_BEFORE_RESUME)),
    Command("resume", TRAINER, lambda context: _epochs(context, "--resume", "--max_epochs", EPOCHS_AFTER_RESUME)),
    Command("evaluate", "edgeflownas.nas.supernet_eval", _evaluation),
)

GATE = Gate(
    number=3,
    title="training loop",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(
        Artifact(BEST, None, copy_of(EPOCHS_RUN, BEST)),
        Artifact(LAST, None, copy_of(EPOCHS_RUN, LAST)),
        Artifact(POOL.file, "eval_pool.schema.json", copy_of(EPOCHS_RUN, POOL.file)),
    ),
    config_keys=TRAINING_KEYS,
    requirements=REQUIREMENTS,
    run_directories=(TRACE_RUN, REPEAT_RUN, EPOCHS_RUN),
    packages=COMPUTING_PACKAGES,
    uses_data=True,
)
