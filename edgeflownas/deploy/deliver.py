"""The command that exports one of the picks that gate 6 retrained, under its code in the supernet's search space."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.command_line import add_config_flags, config_from_flags
from edgeflownas.config import Config
from edgeflownas.deploy.export import Named, export, summary_lines
from edgeflownas.errors import EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.parsers import command_parser
from edgeflownas.runs.run_directory import RunDirectory

RETRAINED_SCHEMA = "retrained.schema.json"
# What the present configuration decides; all else is that of the pick's own run.
OF_DELIVERY = ("target", "deploy.")
EXAMPLES = (
    "--retrained outputs/supernet/runs/gate6/retrained.json --pick 1 --out outputs/supernet/runs/gate7",
    "--retrained outputs/supernet/runs/gate6/retrained.json --pick 2 --out for_my_board --set target=my_board.yaml",
)


def deliver(config: Config, retrained: Path, number: int, out: Path) -> None:
    """Export a pick to a folder in `out` that is named after its code.

    Args:
        config: says for which target and in which form; see `OF_DELIVERY`.
        retrained: `retrained.json`, beside the runs that it names.
        number: of the pick, from 1. That there are fewer is no fault: a selection may have fewer picks.
        out: the folder.

    Raises:
        UserError: as `export`, or the pick's checkpoint is not the one that was retrained.
    """
    facts = read_json(retrained, schema=RETRAINED_SCHEMA)
    pick = next((found for found in facts["picks"] if found["number"] == number), None)
    if pick is None:
        print(f"there is no pick {number}: {len(facts['picks'])} subnets were retrained")
        return
    run = RunDirectory(retrained.parent / pick["run"])
    changes = {key: value for key, value in config.values.items() if key.startswith(OF_DELIVERY)}
    of_run = run.read_config(changes)
    _require_retrained(run, pick)
    # Its own space has one subnet.
    code = format_code(load_search_space(of_run["network.search_space"]).reference)
    named = Named(pick["code"], load_search_space(facts["search_space"]).name)
    folder, found = export(of_run, pick["checkpoint"]["name"], code, out / named.folder, print, named)
    for line in summary_lines(folder, found):
        print(line)


def _require_retrained(run: RunDirectory, pick: dict[str, Any]) -> None:
    checkpoint = {"best": run.best, "last": run.last}[pick["checkpoint"]["name"]]
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; run `snakemake gate6` again")
    if sha256_file(checkpoint) != pick["checkpoint"]["sha256"]:
        raise UserError(f"{checkpoint}: is not the checkpoint that was retrained; run `snakemake gate6` again")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.deploy.deliver",
        "Export one of the retrained picks: the files of edgeflownas.deploy.export, named by the pick's code in the "
        "supernet's search space. Target and form are those of the config, all else is that of the pick's run.",
        EXAMPLES,
    )
    add_config_flags(parser)
    add = parser.add_argument
    add("--retrained", type=Path, required=True, metavar="FILE", help="retrained.json, beside the runs that it names")
    add("--pick", type=int, required=True, metavar="N", help="which of its picks, from 1")
    add("--out", type=require_writable_folder, required=True, metavar="FOLDER", help="where the pick's folder goes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.deploy.deliver`."""
    arguments = _parser().parse_args(argv)
    if arguments.pick < 1:
        raise UserError(f"--pick must be at least 1, got {arguments.pick}")
    deliver(config_from_flags(arguments, {}), arguments.retrained, arguments.pick, arguments.out)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
