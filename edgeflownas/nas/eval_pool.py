"""The eval pool: four fixed fair cycles of subnets, evaluated after every epoch.

In the 9-block space these are 12 subnets, hence `mean_epe_12` and `eval_pool_12.json`; in another space the pool has
four times the length of its fair cycles, and these names say how many that are (`runs.pool_names`).
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_json
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import add_counts, complete_cycle, empty_counts, fair_cycle
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, ArchCode, SearchSpace, load_search_space
from edgeflownas.parsers import add_json_flag, command_parser, print_json

POOL_CYCLES = 4
# The pool is the same for every run, whatever its seed, so that runs can be compared.
POOL_SEED = 12


def eval_pool(space: SearchSpace, cycles: int = POOL_CYCLES) -> np.ndarray:
    """The pool as fair cycles, so that every option occurs equally often (stratified cover).

    The first cycle holds the lightest subnet and its rotations (000000000, 111111111, 222222222), the second the
    space's reference subnet; the others are drawn. No subnet occurs twice. A space of one subnet has a pool of one.

    Returns:
        (cycles, paths, blocks) int32.

    Raises:
        UserError: the space has too few subnets for so many cycles.
    """
    if space.size == 1:
        # A subnet that is trained alone.
        return complete_cycle(space.reference, space)[None]
    if cycles * space.cycle_length > space.size:
        raise UserError(f"search space {space.name} has {space.size} subnets, too few for {cycles} distinct cycles")
    lightest = (0,) * len(space.blocks)
    candidates = [complete_cycle(lightest, space), complete_cycle(space.reference, space)]
    candidates += [fair_cycle(space, POOL_SEED, step) for step in range(1000)]
    pool: list[np.ndarray] = []
    seen: set[ArchCode] = set()
    for cycle in candidates:
        codes = {tuple(int(digit) for digit in code) for code in cycle}
        if len(codes) == len(cycle) and not codes & seen:
            pool.append(cycle)
            seen |= codes
        if len(pool) == cycles:
            return np.stack(pool)
    raise UserError(f"search space {space.name}: no {cycles} disjoint fair cycles of distinct subnets found")


def pool_size(space: SearchSpace) -> int:
    """How many subnets the pool has."""
    return 1 if space.size == 1 else POOL_CYCLES * space.cycle_length


def pool_report(space: SearchSpace) -> dict[str, Any]:
    """The pool's codes and how often each option occurs in it: the content of `eval_pool_12.json`, or of its like."""
    pool = eval_pool(space)
    codes = pool.reshape(-1, len(space.blocks))
    counts = empty_counts(space)
    add_counts(counts, codes, space)
    return {
        "search_space": space.name,
        "cycle_length": space.cycle_length,
        "codes": [format_code(code) for code in codes],
        "coverage": counts,
    }


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.eval_pool",
        "Print the eval pool and its option coverage.",
        ("--json", "--out eval_pool_12.json"),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    parser.add_argument("--out", type=require_writable, help="write the pool as JSON (eval_pool_12.json)")
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.eval_pool`."""
    arguments = _parser().parse_args(argv)
    report = pool_report(load_search_space(arguments.space))
    if arguments.out:
        write_json(arguments.out, report, schema="eval_pool.schema.json")
    if arguments.json:
        print_json(report)
        return EXIT_DONE
    for code in report["codes"]:
        print(code)
    for name, options in report["coverage"].items():
        print(f"{name:8s} {options}")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
