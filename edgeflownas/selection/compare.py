"""The command that compares two evaluated supernets of one search space: do they rank its subnets alike?

Over all subnets, so that nothing depends on which ones were drawn.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.errors import EXIT_DONE, UserError, run_command
from edgeflownas.parsers import add_json_flag, command_parser, print_json

if TYPE_CHECKING:
    from edgeflownas.selection.tables import Evaluated


def compare(one: "Evaluated", other: "Evaluated") -> dict[str, Any]:
    """How alike two supernets rank the subnets of their space.

    Returns:
        tau, rho: Kendall's tau-b and Spearman's rho of EPE over all subnets; None if a supernet tells none apart.
        tau_halves: of each, tau between two halves of its own samples: what noise alone leaves of a ranking; None for
            a single sample.
        front: on the front of the one, of the other, and of both.
        regret: by how much the subnets on the front of the one are worse in the other than the best there at their
            cost, and the reverse, mean over the front, pixels.
        rank_of_best: which rank the best of the one has in the other, and the reverse; 1 is the best.
        same_data: whether both were evaluated on the same samples of the same data.

    Raises:
        UserError: two search spaces, or costs at two sizes of input or widths of network.
    """
    from edgeflownas.nas.ranking import kendall_tau, spearman_rho
    from edgeflownas.selection.front import front_rows
    from edgeflownas.selection.noise import halves
    from edgeflownas.selection.selecting import MACS

    _refuse_unlike(one, other)
    epes = [evaluated.table["epe"].to_numpy() for evaluated in (one, other)]
    cost = one.table[MACS].to_numpy()
    fronts = [front_rows(cost, epe) for epe in epes]
    taus = [
        halves(evaluated.sample_epes, cost, epe)["tau"] if evaluated.sample_epes.shape[1] > 1 else None
        for evaluated, epe in zip((one, other), epes, strict=True)
    ]
    regrets, ranks = [], []
    for front, epe in zip(fronts, reversed(epes), strict=True):
        best = [epe[cost <= cost[row]].min() for row in front]
        regrets.append(float(np.mean(epe[front] - best)))
        ranks.append(1 + int(np.sum(epe < epe[front[-1]])))
    return {
        "search_space": one.space.name,
        "subnets": len(cost),
        "tau": kendall_tau(*epes),
        "rho": spearman_rho(*epes),
        "tau_halves": taus,
        "front": [len(fronts[0]), len(fronts[1]), len(np.intersect1d(fronts[0], fronts[1]))],
        "regret": regrets,
        "rank_of_best": ranks,
        "same_data": all(one.facts[key] == other.facts[key] for key in ("data", "samples")),
    }


def _refuse_unlike(one: "Evaluated", other: "Evaluated") -> None:
    if one.space.facts() != other.space.facts():
        raise UserError(
            f"the two are of different search spaces, {one.space.name} and {other.space.name}: expected one space"
        )
    for key in ("init_neurons", "height", "width"):
        if one.facts[key] != other.facts[key]:
            raise UserError(
                f"the two differ in {key}, {one.facts[key]} and {other.facts[key]}: expected the same network"
            )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.selection.compare",
        "Kendall's tau over all subnets between two evaluated supernets, and how much picking by the wrong one costs.",
        ("outputs/seed_1/runs/supernet/selection outputs/seed_2/runs/supernet/selection",),
    )
    parser.add_argument(
        "evaluated", type=Path, nargs=2, metavar="FOLDER", help="where nas.space_eval wrote subnets.csv of a supernet"
    )
    add_json_flag(parser)
    return parser


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _print(result: dict[str, Any]) -> None:
    print(f"Kendall's tau over all {result['subnets']} subnets: {_shown(result['tau'])}")
    print(f"Spearman's rho: {_shown(result['rho'])}")
    print(f"tau between halves of their own samples: {' and '.join(map(_shown, result['tau_halves']))}")
    first, second, both = result["front"]
    print(f"on the front: {first} of the first, {second} of the second, {both} of both")
    for words, regret, rank in zip(
        ("first, judged by the second", "second, judged by the first"),
        result["regret"],
        result["rank_of_best"],
        strict=True,
    ):
        print(f"picked by the {words}: {regret:.4f} px worse than the best at that cost; its best is at rank {rank}")
    if not result["same_data"]:
        print("caution: the two were not evaluated on the same samples")


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.selection.compare`."""
    arguments = _parser().parse_args(argv)

    from edgeflownas.selection.tables import read_evaluated

    one, other = (read_evaluated(folder) for folder in arguments.evaluated)
    result = compare(one, other)
    if arguments.json:
        print_json(result)
    else:
        _print(result)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
