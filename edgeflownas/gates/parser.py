"""The flags of `python -m edgeflownas.gates`, action by action."""

import argparse
from pathlib import Path
from typing import Any

from edgeflownas.command_line import add_set_flag
from edgeflownas.errors import EXIT_DONE, require_writable
from edgeflownas.gates.registry import GATES, STAGES
from edgeflownas.parsers import add_json_flag, command_parser, help_texts

MODULE = "edgeflownas.gates"
# Per action: what it does, and what to type for example.
ACTIONS = {
    "status": ("Print the state of each gate, and why.", "--json"),
    "verify": ("Recompute every digest in the verdicts.", "--output_dir outputs/supernet"),
    "reproduce": ("Print the commands that repeat an attempt.", "gate3 --attempt 2"),
    "page": ("Write provenance.html for all gates and attempts.", ""),
    "start": ("Start an attempt at a gate, as the workflow does.", "gate1 --config config/config.yaml"),
    "record": ("Run a command and record it in the attempt under way.", "gate1 help -- python -V"),
    "judge": ("Evaluate the criteria of a gate whose commands have run.", "gate1"),
    "abandon": ("Declare that an attempt's owner has certainly ended.", "gate3"),
}


def gates_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    examples = [f"{action} {words}".rstrip() for action, (_, words) in ACTIONS.items()]
    parser = command_parser(MODULE, "Start, record, judge and inspect gates.", examples)
    commands = parser.add_subparsers(dest="action", required=True)

    def add(action: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        description, words = ACTIONS[action]
        texts: dict[str, Any] = help_texts(f"python -m {MODULE} {action}", description, [words])
        return commands.add_parser(action, parents=[shared, *parents], help=description, **texts)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--output_dir", type=Path, default=Path("outputs/supernet"), help="where gates publish (%(default)s)"
    )
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", type=Path, metavar="FILE", help="config file")
    add_set_flag(configured, "set a key of the config")
    done_file = argparse.ArgumentParser(add_help=False)
    done_file.add_argument("--done_file", type=require_writable, metavar="FILE", help="a file to write on success")

    add_json_flag(add("status", configured))
    add_json_flag(add("verify"))
    reproduce = add("reproduce")
    reproduce.add_argument("stage", choices=STAGES)
    reproduce.add_argument("--attempt", type=int, metavar="K", help="which attempt (the last one)")
    add("page")
    start = add("start", configured, done_file)
    start.add_argument("stage", choices=STAGES)
    start.add_argument("--trigger", type=int, help="the number by which the workflow knew that it must run")
    record = add("record", done_file)
    record.add_argument("stage", choices=STAGES)
    record.add_argument("name", help="under which it is recorded")
    record.add_argument("--expect", type=int, default=EXIT_DONE, metavar="CODE", help="expected exit code")
    record.add_argument("--quiet", action="store_true", help="do not show its output on the terminal")
    record.add_argument("--log", type=require_writable, metavar="FILE", help="a second file for its output")
    record.usage = "%(prog)s [options] stage name -- COMMAND …"
    judge = add("judge", done_file)
    judge.add_argument("stage", choices=[gate.name for gate in GATES])
    judge.add_argument("--log", type=require_writable, metavar="FILE", help="a second file for its output")
    abandon = add("abandon")
    abandon.add_argument("stage", choices=STAGES)
    return parser
