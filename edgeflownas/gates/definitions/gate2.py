"""Gate 2, model and sampling: random subnets run at the right sizes, and the sampler is fair and repeatable."""

from typing import Any

from edgeflownas.gates.criteria import Criterion, Finding, none_of, same
from edgeflownas.gates.gate import MODEL_KEYS, Command, Context, Gate
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Artifact, copy_of
from edgeflownas.gates.requirements import strict_fairness
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import fair_cycle, unfair_blocks
from edgeflownas.provenance import NETWORK_PACKAGES

RUN = "gate2"
SHAPES = "model_shape_check.json"
SAMPLER = "fair_sampler_check.json"
SAMPLER_REPEAT = "fair_sampler_check_repeat.json"
SUBNETS = 20
BATCH = 2
CYCLES = 300
SEED = 42
OUTPUT_CHANNELS = 4


def expected_sizes(height: int, width: int) -> list[list[int]]:
    """Height and width of the three outputs, coarse to fine: a quarter, a half and all of the input, rounded up."""
    return [[-(-height // factor), -(-width // factor)] for factor in (4, 2, 1)]


def _subnets_run(evidence: Evidence) -> Finding:
    report = evidence.json(RUN, SHAPES, "model_shape_check.schema.json")
    faults = [f"{subnet['code']}: {subnet['faults'][0]}" for subnet in report["subnets"] if subnet["faults"]]
    codes = {subnet["code"] for subnet in report["subnets"]}
    different = min(SUBNETS, evidence.space.size)
    if (len(report["subnets"]), len(codes)) != (SUBNETS, different):
        faults.append(f"{len(report['subnets'])} subnets, {len(codes)} of them different, instead of {different}")
    return none_of(faults, f"{SUBNETS} subnets")


def _outputs_right(evidence: Evidence) -> Finding:
    report = evidence.json(RUN, SHAPES, "model_shape_check.schema.json")
    sizes = expected_sizes(evidence.settings.height, evidence.settings.width)
    wanted = [[BATCH, *size, OUTPUT_CHANNELS] for size in sizes]
    faults = [
        f"{subnet['code']}: {subnet['shapes']} instead of {wanted}"
        for subnet in report["subnets"]
        if subnet["shapes"] != wanted
    ]
    words = ", ".join(f"{height}×{width}" for height, width in sizes)
    return none_of(faults, f"{len(report['subnets'])} subnets with outputs {words}")


def _counts_equal(evidence: Evidence) -> Finding:
    report = evidence.json(RUN, SAMPLER, "fair_sampler_check.schema.json")
    faults = unfair_blocks(report)
    if report["cycles"] != CYCLES or report["seed"] != SEED:
        faults.append(f"{report['cycles']} cycles with seed {report['seed']} instead of {CYCLES} with {SEED}")
    if list(report["counts"]) != [block.name for block in evidence.space.blocks]:
        faults.append(f"blocks {list(report['counts'])} are not those of {evidence.space.name}")
    return none_of(faults, f"{len(report['counts'])} blocks after {CYCLES} cycles")


def _gap_zero(evidence: Evidence) -> Finding:
    return same(evidence.json(RUN, SAMPLER, "fair_sampler_check.schema.json")["fairness_gap"], 0)


def _same_bytes(evidence: Evidence) -> Finding:
    first, second = (evidence.bytes(RUN, name) for name in (SAMPLER, SAMPLER_REPEAT))
    return Finding("same bytes" if first == second else "other bytes", "same bytes", first == second)


def _codes_follow_from_seed(evidence: Evidence) -> Finding:
    report = evidence.json(RUN, SAMPLER, "fair_sampler_check.schema.json")
    steps = len(report["first_codes"]) // evidence.space.cycle_length
    codes = [format_code(code) for step in range(steps) for code in fair_cycle(evidence.space, SEED, step)]
    wrong = [
        f"{found} where {code} follows"
        for found, code in zip(report["first_codes"], codes, strict=True)
        if found != code
    ]
    return none_of(wrong, f"{len(codes)} codes")


CRITERIA = (
    Criterion(
        f"{SUBNETS} random subnets run and give finite outputs, no two alike where the space has as many",
        _subnets_run,
        ("model_shape_check",),
    ),
    Criterion(
        "the three outputs have a quarter, a half and all of the input's size", _outputs_right, ("model_shape_check",)
    ),
    Criterion(f"per block, all options occur equally often in {CYCLES} fair cycles", _counts_equal, ("fair_sampler",)),
    Criterion("the fairness gap of the sampler is 0", _gap_zero, ("fair_sampler",)),
    Criterion("the same seed gives the same bytes twice", _same_bytes, ("fair_sampler", "fair_sampler_repeat")),
    Criterion("the first codes are those that follow from the seed", _codes_follow_from_seed, ("fair_sampler",)),
)


def _shape_check(context: Context) -> list[Any]:
    sizes = ["--h", context.settings.height, "--w", context.settings.width, "--batch", BATCH]
    return [*context.config_flags, *sizes, "--samples", SUBNETS, "--out", f"{context.run(RUN)}/{SHAPES}"]


def _sampler(context: Context, out: str) -> list[Any]:
    space = ["--space", context.settings.search_space]
    return [*space, "--cycles", CYCLES, "--seed", SEED, "--check", "--out", f"{context.run(RUN)}/{out}"]


COMMANDS = (
    Command("model_shape_check", "edgeflownas.nas.model_shape_check", _shape_check),
    Command("fair_sampler", "edgeflownas.nas.fair_sampler", lambda context: _sampler(context, SAMPLER)),
    Command(
        "fair_sampler_repeat",
        "edgeflownas.nas.fair_sampler",
        lambda context: _sampler(context, SAMPLER_REPEAT),
        quiet=True,
    ),
)

GATE = Gate(
    number=2,
    title="model and sampling",
    commands=COMMANDS,
    criteria=CRITERIA,
    artifacts=(Artifact(SAMPLER, "fair_sampler_check.schema.json", copy_of(RUN, SAMPLER)),),
    config_keys=MODEL_KEYS,
    requirements=(strict_fairness,),
    run_directories=(RUN,),
    packages=NETWORK_PACKAGES,
)
