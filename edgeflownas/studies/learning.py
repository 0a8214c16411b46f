"""Check whether the supernet learns: did it memorise a few pairs, and does it generalise to scenes it has not seen?

Exit code 1 if a criterion fails.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.data.index import indexed_samples, load_index
from edgeflownas.data.samples import read_sample
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, require_writable, run_command
from edgeflownas.gates.criteria import Criterion, Finding, evaluate_criteria, none_of, reasons
from edgeflownas.gates.lifecycle.reports import table_head, table_row
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.parsers import command_parser
from edgeflownas.runs.checkpoints import load_checkpoint
from edgeflownas.runs.pool_names import mean_epe, names_in
from edgeflownas.runs.weight_change import ROUNDING, option_weight_changes
from edgeflownas.studies.runs import Run, read_run

MEMORISED = 0.30
"""Mean EPE of the pool over the zero-flow EPE that memorising a few pairs must reach."""
MEMORISED_EACH = 0.40
CLIP_RATE = 0.1
SWAP_DISTANCE = 0.1
"""How far, of the zero-flow EPE, the flow must move when the frames of a memorised pair change places."""
GENERALISED = 0.55
"""The same on held-out scenes."""
GENERALISED_EACH = 0.65
PHOTOMETRIC = 0.8
"""Upper bound for correct data: colour difference along the flow over that without motion."""


@dataclass(frozen=True)
class Evidence:
    """What the criteria look at.

    memorise: the run on the overfit set. swapped: `supernet_eval.json` of the same checkpoint on its swapped pairs.
    generalise: the run on generated scenes. transfer: `supernet_eval.json` of its last checkpoint on each split of
        other data, at its own size.
    """

    memorise: Run
    swapped: dict[str, Any]
    generalise: Run
    transfer: Sequence[dict[str, Any]]


def _memorised(evidence: Evidence) -> Finding:
    run = evidence.memorise
    observed = f"{mean_epe(run.last):.3f} px, {run.ratio:.3f} of zero flow {run.last['zero_flow_epe']:.3f} px"
    return Finding(observed, f"at most {MEMORISED:.2f} of zero flow", run.ratio <= MEMORISED)


def _each_memorised(evidence: Evidence) -> Finding:
    return _each_below(evidence.memorise, MEMORISED_EACH)


def _each_below(run: Run, bound: float) -> Finding:
    ratios = run.subnet_ratios
    worst = max(ratios, key=lambda digits: ratios[digits])
    observed = f"worst {ratios[worst]:.3f} ({worst}) of {len(ratios)}"
    return Finding(observed, f"each below {bound:.2f} of zero flow", ratios[worst] < bound)


def _not_clipped(evidence: Evidence) -> Finding:
    # Not of the memorising run: the smaller its error, the larger the gradient of the uncertainty term.
    rate, memorising = (run.last["clip_rate"] for run in (evidence.generalise, evidence.memorise))
    observed = f"{rate:.2f} of the last epoch's steps; {memorising:.2f} where pairs are memorised"
    return Finding(observed, f"below {CLIP_RATE:g}", rate < CLIP_RATE)


def _all_weights_changed(evidence: Evidence) -> Finding:
    run = evidence.memorise
    space = load_search_space(run.manifest["search_space"])
    checkpoint = load_checkpoint(run.path / "checkpoints" / "supernet_last.ckpt")
    changes = option_weight_changes(checkpoint.arrays, space, run.manifest["init_neurons"], run.manifest["seed"])
    unchanged = [f"{option} by {change:.1g}" for option, change in changes.items() if change <= ROUNDING]
    return none_of(unchanged, f"{len(changes)} options, the least by {min(changes.values()):.1%}")


def _swapping_matters(evidence: Evidence) -> Finding:
    """By the triangle inequality two flows differ on average by at least the difference of their EPEs."""
    run, swapped = evidence.memorise, {row["code"]: row["epe"] for row in evidence.swapped["subnets"]}
    zero = run.last["zero_flow_epe"]
    distances = [swapped[",".join(digits)] / zero - ratio for digits, ratio in run.subnet_ratios.items()]
    observed = f"by at least {min(distances):.2f} to {max(distances):.2f} of zero flow"
    return Finding(observed, f"each by at least {SWAP_DISTANCE:g} of zero flow", min(distances) >= SWAP_DISTANCE)


def _flow_leads_to_the_same_colours(evidence: Evidence) -> Finding:
    index = load_index(evidence.memorise.path / "data_index.json")
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "(u, v)": lambda flow: flow,
        "(v, u)": lambda flow: flow[..., ::-1],
        "(-u, -v)": lambda flow: -flow,
    }
    parts = [read_sample(sample) for sample in indexed_samples(index, "train")]

    def difference(way: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.mean([colour_difference(first, second, way(flow)) for first, second, flow in parts]))

    without = difference(np.zeros_like)
    ratios = {name: difference(way) / without for name, way in ways.items()}
    right = ratios.pop("(u, v)")
    others = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    passed = right < PHOTOMETRIC and right < min(ratios.values())
    return Finding(f"{right:.2f}; {others}", f"below {PHOTOMETRIC:g}, and the smallest", passed)


def colour_difference(frame_0: np.ndarray, frame_1: np.ndarray, flow: np.ndarray) -> float:
    """Mean difference between frame 0 and frame 1 followed back along the flow, where that stays inside.

    Args:
        frame_0, frame_1: (H, W, 3) uint8.
        flow: (H, W, 2) float32, pixels.
    """
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    followed = cv2.remap(frame_1, x, y, cv2.INTER_LINEAR).astype(np.float32)
    return float(np.abs(followed - frame_0)[inside].mean())


def _generalised(evidence: Evidence) -> Finding:
    run = evidence.generalise
    where = f"held-out scenes after {run.manifest['global_step']} steps"
    observed = f"{run.ratio:.3f} of zero flow on {where}"
    return Finding(observed, f"at most {GENERALISED:g} of zero flow", run.ratio <= GENERALISED)


def _each_generalised(evidence: Evidence) -> Finding:
    return _each_below(evidence.generalise, GENERALISED_EACH)


def _does_not_rise(evidence: Evidence) -> Finding:
    """The last epoch against the best of the last third, by twice the noise of a subnet's EPE."""
    history = evidence.generalise.history
    third = history[-max(1, len(history) // 3) :]
    rise = mean_epe(third[-1]) - min(mean_epe(row) for row in third)
    noise = 2.0 * third[-1][names_in(third[-1]).noise_epe]
    return Finding(f"{rise:.3f} px above its lowest", f"at most {noise:.3f} px, twice the noise", rise <= noise)


def _transferred(evidence: Evidence) -> Finding:
    pairs = sum(result["samples"] for result in evidence.transfer)
    epe, zero = (
        sum(result["samples"] * result[key] for result in evidence.transfer) / pairs
        for key in ("mean_epe", "zero_flow_epe")
    )
    return Finding(f"{epe / zero:.3f} of zero flow {zero:.3f} px on {pairs} pairs", "stated, without a bound", True)


LONGER = "It may be too little training: look at train.num_epochs, train.steps_per_epoch and train.lr in {}"
MEMORISE_CONFIG = "config/learning_memorise.yaml"
MORE = LONGER.format("config/learning_laptop.yaml") + ", and at the number of scenes, data.synthetic.train"
CRITERIA: tuple[Criterion[Evidence], ...] = (
    Criterion(
        "the flow of the pairs leads to the same colours: u before v, from frame 0 to frame 1",
        _flow_leads_to_the_same_colours,
    ),
    Criterion("the pool has memorised the pairs", _memorised, remedy=LONGER.format(MEMORISE_CONFIG)),
    Criterion("each of its subnets has", _each_memorised, remedy=LONGER.format(MEMORISE_CONFIG)),
    Criterion("every option's weights have moved", _all_weights_changed, remedy=LONGER.format(MEMORISE_CONFIG)),
    Criterion(
        "swapping the frames of a memorised pair changes the flow",
        _swapping_matters,
        remedy=LONGER.format(MEMORISE_CONFIG),
    ),
    Criterion("the pool predicts the flow of scenes that it has not seen", _generalised, remedy=MORE),
    Criterion("so does each of its subnets", _each_generalised, remedy=MORE),
    Criterion("its error there does not rise over the last third of the run", _does_not_rise, remedy=MORE),
    Criterion(
        "at its end the clip acts on outliers only",
        _not_clipped,
        remedy="Look at data.flow_scale, train.grad_clip and train.lr in config/learning_laptop.yaml",
    ),
    Criterion("the same weights on the data of the gates", _transferred),
)


def _print_curve(title: str, run: Run) -> None:
    record, names = run.record(), names_in(run.last)
    print(f"\n{title}: {record['run']}, {record['seconds']:.0f} s on {record['device']}")
    print(f"{'steps':>7}{'of zero flow':>14}{'std':>10}{'noise':>10}{'clipped':>9}")
    for row in record["curve"]:
        print(
            f"{row['global_step']:7d}{row['ratio']:14.3f}{row[names.std_epe]:10.4f}{row[names.noise_epe]:10.4f}"
            f"{row['clip_rate']:9.2f}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.learning",
        __doc__.splitlines()[0],
        ("--memorise RUN --swapped swapped.json --generalise RUN --transfer train.json val.json --out learning.json",),
    )
    parser.add_argument("--memorise", type=Path, required=True, metavar="RUN", help="the run on the overfit set")
    parser.add_argument("--swapped", type=Path, required=True, metavar="FILE", help="its evaluation on swapped pairs")
    parser.add_argument("--generalise", type=Path, required=True, metavar="RUN", help="the run on generated scenes")
    parser.add_argument("--transfer", type=Path, nargs="+", required=True, metavar="FILE", help="it, on other data")
    parser.add_argument("--out", type=require_writable, required=True, help="where to write the report, passed or not")
    arguments = parser.parse_args(argv)
    swapped, *transfer = (
        read_json(path, schema="supernet_eval.schema.json") for path in (arguments.swapped, *arguments.transfer)
    )
    evidence = Evidence(read_run(arguments.memorise), swapped, read_run(arguments.generalise), transfer)
    findings = [*evaluate_criteria(CRITERIA, evidence)]
    passed = all(finding["passed"] for finding in findings)
    report = {
        "passed": passed,
        "criteria": findings,
        "memorise": evidence.memorise.record(),
        "generalise": evidence.generalise.record(),
    }
    write_json(arguments.out, report, schema="learning.schema.json")
    _print_curve("Memorising", evidence.memorise)
    _print_curve("Generalising to held-out scenes", evidence.generalise)
    print("\n".join(["", table_head(), *map(table_row, findings)]))
    for reason in reasons(findings):
        print(f"because {reason}")
    print(f"\nlearning {'passed' if passed else 'FAILED'}: {arguments.out}", flush=True)
    return EXIT_DONE if passed else EXIT_CHECK_FAILED


if __name__ == "__main__":
    run_command(main)
