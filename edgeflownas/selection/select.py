"""The command that answers which subnet to take: front, effects of blocks, noise, picks, and a page of them."""

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_json, write_text
from edgeflownas.command_line import add_config_flags, config_from_flags
from edgeflownas.errors import EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.parsers import add_json_flag, command_parser, print_json

MODULE = "edgeflownas.selection.select"
FRONT, FRONT_SCHEMA = "pareto_front.json", "pareto_front.schema.json"
SELECTION, SELECTION_SCHEMA = "selection.json", "selection.schema.json"
# What the command line may set that says nothing about a subnet's own training.
NOT_FOR_TRAINING = ("selection.", "target=", "deploy.", "network.search_space=")
EVALUATED = "outputs/supernet/runs/supernet/selection"


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        MODULE,
        "Pareto front, effects of blocks, noise and picks of an evaluated search space: pareto_front.json, "
        "selection.json and selection.html. By milliseconds on the target of the configuration if it has one, or else "
        "by multiply-accumulates.",
        (
            f"--evaluated {EVALUATED}",
            f"--evaluated {EVALUATED} --set selection.budget=150 --set target=null --out by_macs",
            f"--evaluated {EVALUATED} --set selection.budget=40 --set target=my_board.yaml --chip for_my_board",
        ),
    )
    add_config_flags(parser)
    parser.add_argument(
        "--evaluated", type=Path, required=True, metavar="FOLDER", help="where nas.space_eval wrote subnets.csv"
    )
    parser.add_argument(
        "--chip",
        type=Path,
        metavar="FOLDER",
        help="where selection.chip_costs wrote milliseconds on the target (the folder of --evaluated)",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (the folder of --evaluated)")
    add_json_flag(parser)
    return parser


def _print(selection: dict[str, Any]) -> None:
    evaluation, reach, chip = selection["evaluation"], selection["noise"], selection["chip"]
    size = math.prod(len(block["options"]) for block in evaluation["search_space"]["blocks"])
    over = "multiply-accumulates" if chip is None else f"milliseconds on {chip['target']}"
    print(f"{selection['front']['subnets']} of {size} subnets are on the Pareto front of EPE and {over}")
    for pick in selection["picks"]:
        error = "" if reach is None else f" ± {pick['epe_error']:.4f}"
        tie = f", tied with {pick['tied_with']['code']}" if pick["tied_with"] else ""
        ms = "" if chip is None else f"{pick['ms']:.2f} ms  "
        cost = f"{ms}{pick['macs'] / 1e6:.1f} M MACs"
        print(f"{pick['role']:18s} {pick['code']}  {pick['epe']:.4f}{error} px  {cost}{tie}")
    shares = selection["effects"]["variance_shares"]
    if shares["additive"] is not None:
        print(f"the blocks' effects add up: they explain {shares['additive']:.1%} of the variance of EPE")
    for words in selection["cautions"]:
        print(f"caution: {words}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.selection.select`."""
    arguments = _parser().parse_args(argv)
    config = config_from_flags(arguments, {})
    out = require_writable_folder(arguments.out or arguments.evaluated)
    paths = [out / name for name in (FRONT, SELECTION)]

    from edgeflownas.reporting.pages import SELECTION as PAGE
    from edgeflownas.reporting.selection_page import selection_page
    from edgeflownas.selection.chip_tables import ChipSettings, chip_of
    from edgeflownas.selection.page import view_of
    from edgeflownas.selection.selecting import SelectionSettings, select
    from edgeflownas.selection.tables import read_evaluated

    evaluated = read_evaluated(arguments.evaluated)
    settings = config.view(ChipSettings)
    if arguments.chip and settings.target is None:
        raise UserError("--chip needs a target: name the chip, for example --set target=grove_vision_ai_v2")
    chip = chip_of(settings, arguments.chip or arguments.evaluated, evaluated)
    found = select(evaluated, config.view(SelectionSettings), chip)
    which = [word for text in arguments.assignments for word in ("--set", text)]
    config_flags = ["--config", str(arguments.config)]
    written_by = ["python", "-m", MODULE, *config_flags, *which, "--evaluated", str(arguments.evaluated)]
    written_by += [
        word for flag in ("chip", "out") if (folder := getattr(arguments, flag)) for word in (f"--{flag}", str(folder))
    ]
    for text in arguments.assignments:
        config_flags += [] if text.startswith(NOT_FOR_TRAINING) else ["--set", text]
    view = view_of(evaluated, found, chip, out, config, config_flags, shlex.join(written_by))
    page = selection_page(view)
    for path, content, schema in zip(
        paths, (found.front, found.selection), (FRONT_SCHEMA, SELECTION_SCHEMA), strict=True
    ):
        write_json(path, content, schema=schema)
    write_text(out / PAGE, page)
    if arguments.json:
        print_json(found.selection)
        return EXIT_DONE
    _print(found.selection)
    for path in (*paths, out / PAGE):
        print(path)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
