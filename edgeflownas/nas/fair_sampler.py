"""Fair cycles: which subnets are trained at which step, as a pure function of (seed, step).

A fair cycle is `cycle_length` paths that together run every option of every block equally often: exactly once
where all blocks have the same number of options (FairNAS, arXiv:1907.01845, "strict fairness"). A counter-based
generator (Philox, its raw 64-bit words, which NumPy keeps stable between versions) gives cycle t directly, so
there is no generator state to save and any step can be resumed.
"""

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_json
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, ArchCode, SearchSpace, load_search_space
from edgeflownas.parsers import add_json_flag, command_parser, print_json

OptionCounts = dict[str, list[int]]


def fair_cycle(space: SearchSpace, seed: int, step: int) -> np.ndarray:
    """The paths of fair cycle `step`.

    Returns:
        (paths, blocks) int32 digits; in each column every option occurs equally often.
    """
    paths = space.cycle_length
    words = _philox_words(seed, step, len(space.blocks) * paths).reshape(len(space.blocks), paths)
    slots = np.argsort(words, axis=1, kind="stable")
    option_counts = np.array([[len(block.options)] for block in space.blocks])
    return np.ascontiguousarray((slots % option_counts).T.astype(np.int32))


def independent_paths(space: SearchSpace, seed: int, step: int) -> np.ndarray:
    """As many independent uniform paths as a fair cycle has: FairNAS's weaker "expectation fairness".

    Returns:
        (paths, blocks) int32 digits; options occur equally often only on average.
    """
    paths = space.cycle_length
    words = _philox_words(seed, step, paths * len(space.blocks)).reshape(paths, len(space.blocks))
    option_counts = np.array([len(block.options) for block in space.blocks], dtype=np.uint64)
    return (words % option_counts).astype(np.int32)


def sandwich_paths(space: SearchSpace, seed: int, step: int) -> np.ndarray:
    """The lightest and the heaviest subnet, and independent uniform paths between them: the sandwich rule.

    Yu and Huang, "Universally Slimmable Networks", arXiv:1903.05134, section 3.3. Held to fair cycles, it would train
    three subnets alone: beside the first and the last option of every block only the middle ones are left.

    Returns:
        (paths, blocks) int32 digits, as many paths as a fair cycle has; middle options occur least.
    """
    paths = independent_paths(space, seed, step)
    paths[-1] = [len(block.options) - 1 for block in space.blocks]
    paths[0] = 0
    return paths


def _philox_words(seed: int, step: int, count: int) -> np.ndarray:
    # The step sits in the counter's top word: streams of different steps never overlap.
    raw = np.random.Philox(key=seed, counter=[0, 0, 0, step]).random_raw(count)
    return np.asarray(raw, dtype=np.uint64)


SAMPLERS = {"strict_fairness": fair_cycle, "expectation_fairness": independent_paths, "sandwich": sandwich_paths}


def complete_cycle(code: ArchCode, space: SearchSpace) -> np.ndarray:
    """A fair cycle whose first path is `code`; the others follow by rotating its digits.

    Returns:
        (paths, blocks) int32.
    """
    option_counts = np.array([len(block.options) for block in space.blocks])
    return ((np.array(code) + np.arange(space.cycle_length)[:, None]) % option_counts).astype(np.int32)


def cycles_of(codes: Sequence[Sequence[int]], space: SearchSpace) -> np.ndarray:
    """Fair cycles in which all of these codes occur: as few as there are if the codes themselves form fair cycles.

    Returns:
        (cycles, paths, blocks) int32; a code that completes no cycle with those after it is the first path of its own.
    """
    cycles, left = [], list(codes)
    while left:
        together = left[: space.cycle_length]
        counts = empty_counts(space)
        add_counts(counts, together, space)
        if len(together) == space.cycle_length and fairness_gap(counts) == 0:
            cycles.append(np.array(together, np.int32))
            del left[: space.cycle_length]
        else:
            cycles.append(complete_cycle(tuple(left.pop(0)), space))
    return np.stack(cycles)


def empty_counts(space: SearchSpace) -> OptionCounts:
    """Zero for every option of every block."""
    return {block.name: [0] * len(block.options) for block in space.blocks}


def add_counts(counts: OptionCounts, codes: Iterable[Sequence[int]], space: SearchSpace) -> None:
    """Count the options that `codes` executed into `counts`."""
    for code in codes:
        for block, digit in zip(space.blocks, code, strict=True):
            counts[block.name][int(digit)] += 1


def fairness_gap(counts: OptionCounts) -> int:
    """Largest difference between the option counts of a block, over all blocks; 0 after complete fair cycles."""
    return max(max(options) - min(options) for options in counts.values())


def check_sampler(space: SearchSpace, cycles: int, seed: int) -> dict[str, Any]:
    """Run the sampler for `cycles` cycles and report counts, gap and the digest of the whole sequence.

    The digest is the SHA-256 of all digits as bytes, in the order cycle, path, block.
    """
    counts = empty_counts(space)
    digest = hashlib.sha256()
    for step in range(cycles):
        codes = fair_cycle(space, seed, step)
        add_counts(counts, codes, space)
        digest.update(codes.astype(np.uint8).tobytes())
    first = [format_code(code) for step in range(min(cycles, 3)) for code in fair_cycle(space, seed, step)]
    return {
        "search_space": space.name,
        "cycles": cycles,
        "cycle_length": space.cycle_length,
        "seed": seed,
        "counts": counts,
        "fairness_gap": fairness_gap(counts),
        "sha256": digest.hexdigest(),
        "first_codes": first,
    }


def unfair_blocks(report: dict[str, Any]) -> list[str]:
    """One sentence per block whose options did not all occur cycles × cycle_length / options times."""
    faults = []
    for name, options in report["counts"].items():
        expected = report["cycles"] * report["cycle_length"] // len(options)
        if any(count != expected for count in options):
            faults.append(f"{name}: counts {options}, expected {expected} each")
    return faults


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.fair_sampler",
        "Draw fair cycles and check that they are fair.",
        ("--cycles 300 --seed 42 --check", "--cycles 3 --json"),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    parser.add_argument("--cycles", type=int, default=300, help="number of fair cycles (%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed, 0 or more (%(default)s)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if any option count differs")
    parser.add_argument("--out", type=require_writable, help="write the report as JSON (fair_sampler_check.json)")
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.fair_sampler`."""
    arguments = _parser().parse_args(argv)
    if arguments.cycles < 1:
        raise UserError(f"--cycles must be at least 1, got {arguments.cycles}")
    if not 0 <= arguments.seed < 2**64:
        raise UserError(f"--seed must be in 0 … 2^64 - 1, got {arguments.seed}")
    report = check_sampler(load_search_space(arguments.space), arguments.cycles, arguments.seed)
    if arguments.out:
        write_json(arguments.out, report, schema="fair_sampler_check.schema.json")
    faults = unfair_blocks(report)
    if arguments.json:
        print_json(report)
    else:
        for name, options in report["counts"].items():
            print(f"{name:8s} {' '.join(f'{count:7d}' for count in options)}")
        print(f"fairness gap {report['fairness_gap']} after {report['cycles']} cycles, sha256 {report['sha256']}")
        for fault in faults:
            print(f"unfair: {fault}")
    return EXIT_CHECK_FAILED if arguments.check and faults else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
