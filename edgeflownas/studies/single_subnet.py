"""Subnets to train alone: `choose` says which ones, `alone` writes one as a search space that leaves nothing to choose.

The trainer then trains that subnet from scratch as it trains a supernet: its fair cycle is one path.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeflownas.artifacts import read_json, write_json
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, SearchSpace, load_search_space
from edgeflownas.nas.single_subnet import write_space_of_one
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import command_parser

SIZE, NEURONS = (180, 240), 32


def spread(macs: Sequence[float], epes: Sequence[float], count: int) -> list[int]:
    """Positions of `count` subnets spread over both cost and error: what a ranking must get right.

    The subnets are cut into about √count groups of equal size by cost. Of each group those are taken whose errors are
    nearest to evenly spaced ones, from its best to its worst. Sorted by cost.

    Raises:
        UserError: fewer subnets than `count`.
    """
    if count > len(macs):
        raise UserError(f"fidelity.subnets is {count}; {len(macs)} were evaluated, so raise fidelity.cycles")
    by_cost = np.argsort(macs, kind="stable")
    groups = round(math.sqrt(count))
    taken: list[int] = []
    for index, group in enumerate(np.array_split(by_cost, groups)):
        share = count * (index + 1) // groups - count * index // groups
        errors = np.asarray(epes)[group]
        left = list(range(len(group)))
        for target in np.linspace(errors.min(), errors.max(), share):
            nearest = min(left, key=lambda place: abs(errors[place] - target))
            left.remove(nearest)
            taken.append(int(group[nearest]))
    return sorted(taken, key=lambda place: (macs[place], place))


def choose(evaluated: Path, space: SearchSpace, count: int) -> list[str]:
    """The digits of `count` subnets, spread over cost and over what a supernet says of them.

    Args:
        evaluated: a `supernet_eval.json` of many subnets.

    Raises:
        UserError: it has fewer, or cannot be read.
    """
    rows = read_json(evaluated, schema="supernet_eval.schema.json")["subnets"]
    codes = [parse_code(row["code"], space) for row in rows]
    # At another size and width the numbers differ, but hardly their order.
    macs = [subnet_cost(space, code, *SIZE, NEURONS)["macs"] for code in codes]
    places = spread(macs, [row["epe"] for row in rows], count)
    return ["".join(map(str, codes[place])) for place in places]


def main() -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.single_subnet",
        __doc__.splitlines()[0],
        (
            "choose --evaluated supernet_eval.json --count 16 --out subnets.json",
            "alone --arch 0,0,0,0,2,1,2,2,2 --out single_subnet.yaml",
        ),
    )
    parts = parser.add_subparsers(dest="part", required=True)
    choosing = parts.add_parser("choose", help="choose subnets spread over cost and over a supernet's EPE")
    choosing.add_argument("--evaluated", type=Path, required=True, metavar="FILE", help="a supernet_eval.json")
    choosing.add_argument("--count", type=int, required=True, help="how many")
    alone = parts.add_parser("alone", help="write a search space that holds one subnet")
    alone.add_argument("--arch", required=True, metavar="CODE", help="arch code of the subnet")
    for part in (choosing, alone):
        part.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the space (%(default)s)")
        part.add_argument("--out", type=require_writable, required=True, metavar="FILE", help="the file to write")
    arguments = parser.parse_args()
    space = load_search_space(arguments.space)
    if arguments.part == "choose":
        if arguments.count < 2:
            raise UserError(f"--count is {arguments.count}; a ranking needs at least 2 subnets")
        write_json(arguments.out, {"subnets": choose(arguments.evaluated, space, arguments.count)})
        return EXIT_DONE
    write_space_of_one(arguments.out, space, parse_code(arguments.arch, space))
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
