"""The command that evaluates every subnet of a trained supernet, exactly: `subnets.csv` and what belongs to it."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.command_line import add_data_root_flag, add_set_flag
from edgeflownas.config import parse_assignment
from edgeflownas.console.durations import duration
from edgeflownas.console.printer import Printer
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.parsers import add_json_flag, command_parser, print_json

TABLE = "subnets.csv"
RUN = "outputs/supernet/runs/supernet"
EXAMPLES = (
    f"--run_dir {RUN}",
    f"--run_dir {RUN} --checkpoint last --samples 64 --out few_samples/{TABLE}",
    f"--run_dir {RUN} --shard 1/3",
    f"--run_dir {RUN} --merge",
)


def _parser() -> argparse.ArgumentParser:
    description = "Recalibrate and evaluate every subnet of a run's search space, along the tree of what they share."
    parser = command_parser("edgeflownas.nas.space_eval", description, EXAMPLES)
    add = parser.add_argument
    add("--run_dir", type=Path, required=True, metavar="FOLDER", help="the run directory")
    add("--checkpoint", default="best", metavar="best|last|FILE", help="which checkpoint (%(default)s)")
    add("--samples", type=int, metavar="N", help="evaluate on the first N validation samples (as the run did)")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--shard", type=_shard, metavar="I/N", help="evaluate the I-th of N parts of the space alone")
    part.add_argument("--merge", action="store_true", help="evaluate nothing: write the tables of finished shards")
    add("--out", type=Path, metavar="FILE", help=f"where to write {TABLE} (selection/{TABLE} in the run directory)")
    add_data_root_flag(parser)
    add("--gpu_device", type=int, metavar="N", help="index of the GPU; without a GPU the CPU is used")
    add_set_flag(parser, "set any key of the run's config, for example selection.max_tmacs=5000; may be repeated")
    add("--quiet", action="store_true", help="do not print how far it is")
    add_json_flag(parser)
    return parser


def _shard(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    index, count = map(int, numbers.groups()) if numbers else (0, 0)
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, for example 2/3, got {text!r}")
    return index, count


def _line(where: dict[str, Any]) -> str:
    subtree = f"subtree {where['subtree']} ({where['number']} of {where['subtrees']})"
    return f"{where['share']:4.0%} evaluated, {duration(where['seconds_left'])} left, {subtree}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.space_eval`."""
    arguments = _parser().parse_args(argv)
    out = require_writable(arguments.out or arguments.run_dir / "selection" / TABLE)
    if out.name != TABLE:
        raise UserError(f"--out {out}: expected a path that ends in {TABLE}; what belongs to it is written beside it")

    from edgeflownas.selection.space_evaluation import evaluate_subtrees, make_plan, run_config
    from edgeflownas.selection.tables import FACTS

    changes = dict(parse_assignment(assignment) for assignment in arguments.assignments)
    if arguments.gpu_device is not None:
        changes["train.gpu_device"] = arguments.gpu_device
    config = run_config(arguments.run_dir, changes, arguments.data_root, arguments.samples)
    plan = make_plan(config, arguments.checkpoint, out.parent)
    printer = Printer("quiet" if arguments.quiet else "normal", sys.stderr)
    if not arguments.merge:
        estimate = plan.parts.facts["estimate"]
        printer.print(
            f"{estimate['subnets']} subnets of {plan.tree.space.name} as a tree of {estimate['nodes']} nodes: "
            f"{estimate['macs'] / 1e12:.3g} TMAC, {estimate['bytes'] / 2**20:.0f} MiB of samples and activations"
        )
        index, count = arguments.shard or (1, 1)
        subtrees = plan.tree.subtrees[index - 1 :: count]
        try:
            evaluate_subtrees(plan, subtrees, printer.print, lambda where: printer.progress(lambda: _line(where())))
        finally:
            printer.end_line()
    if arguments.shard:
        result = {"folder": str(plan.parts.folder), "subtrees": [plan.tree.name_of(subtree) for subtree in subtrees]}
        if arguments.json:
            print_json(result)
        else:
            left = len(plan.parts.missing(plan.tree.subtrees))
            then = f"{left} of {len(plan.tree.subtrees)} subtrees are left" if left else "all are there: run --merge"
            print(f"shard {index}/{count}: {len(subtrees)} subtrees in {plan.parts.folder}; {then}")
        return EXIT_DONE
    plan.parts.merge()
    facts = read_json(out.parent / FACTS)
    if arguments.json:
        print_json(facts)
    else:
        print(f"{facts['estimate']['subnets']} subnets on {facts['samples']} samples in {duration(facts['seconds'])}")
        print(f"written to {out}")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
