"""Subnets to train alone: which ones, and each as a search space that leaves nothing to choose.

The trainer then trains that subnet from scratch as it trains a supernet: its fair cycle is one path.
"""

from typing import Any

import numpy as np
import yaml

from edgeflownas.artifacts import validate, write_text
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, ArchCode, SearchSpace, load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import command_parser

CANDIDATE_CYCLES = 100
CANDIDATE_SEED = 6


def spread_over_cost(space: SearchSpace, count: int, height: int, width: int, init_neurons: int) -> list[ArchCode]:
    """Subnets at even distances in multiply-accumulates, lightest first, from the lightest to the heaviest.

    They are the nearest ones among some hundred fixed candidates, so that the same ones are taken each time.

    Raises:
        UserError: fewer candidates than `count`.
    """
    ends = [tuple(0 for _ in space.blocks), tuple(len(block.options) - 1 for block in space.blocks)]
    drawn = [
        tuple(map(int, code)) for step in range(CANDIDATE_CYCLES) for code in fair_cycle(space, CANDIDATE_SEED, step)
    ]
    macs = {
        code: subnet_cost(space, code, height, width, init_neurons)["macs"] for code in dict.fromkeys([*ends, *drawn])
    }
    if count > len(macs):
        raise UserError(f"fidelity.subnets is {count}; at most {len(macs)} are to choose from")
    chosen: list[ArchCode] = []
    for target in np.linspace(min(macs.values()), max(macs.values()), count):
        chosen.append(min((code for code in macs if code not in chosen), key=lambda code: abs(macs[code] - target)))
    return sorted(chosen, key=lambda code: (macs[code], code))


def space_of_one(space: SearchSpace, code: ArchCode) -> dict[str, Any]:
    """The subnet as a search space with one option per block: the content of a file in `config/search_spaces/`."""
    blocks = [
        {"name": block.name, "kind": block.kind, "options": [block.options[digit]]}
        for block, digit in zip(space.blocks, code, strict=True)
    ]
    return {"name": f"{space.name}_{''.join(map(str, code))}", "blocks": blocks, "reference": [0] * len(blocks)}


def main() -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.single_subnet",
        __doc__.splitlines()[0],
        ("--arch 0,0,0,0,2,1,2,2,2 --out single_subnet.yaml",),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    parser.add_argument("--arch", required=True, metavar="CODE", help="arch code of the subnet")
    parser.add_argument(
        "--out", type=require_writable, required=True, metavar="FILE", help="the search space to write (.yaml)"
    )
    arguments = parser.parse_args()
    space = load_search_space(arguments.space)
    content = space_of_one(space, parse_code(arguments.arch, space))
    validate(content, "search_space.schema.json", where=str(arguments.out))
    write_text(arguments.out, yaml.safe_dump(content, sort_keys=False))
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
