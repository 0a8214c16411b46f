"""The flags of `python -m edgeflownas.gates`, action by action."""

import argparse
from pathlib import Path
from typing import Any

from edgeflownas.errors import EXIT_DONE, require_writable
from edgeflownas.gates.registry import GATES, STAGES
from edgeflownas.parsers import add_json_flag, command_parser, help_texts

MODULE = "edgeflownas.gates"
# Per action: what it does, and what to type for example.
ACTIONS = {
    "status": ("Say what each gate stands at, and why.", "--json"),
    "verify": ("Recompute every digest that the verdicts claim.", "--output_dir outputs/supernet"),
    "reproduce": ("Print what repeats an attempt.", "gate3 --attempt 2"),
    "page": ("Draw provenance.html over all gates and attempts.", ""),
    "start": ("Begin an attempt at a gate, as the workflow does.", "gate1 --config config/config.yaml"),
    "record": ("Run a command and record it in the attempt under way.", "gate1 help -- python -V"),
    "judge": ("Judge a gate whose commands have run.", "gate1"),
    "abandon": ("Say that an attempt's owner is gone for certain.", "gate3"),
}


def gates_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    examples = [f"{action} {words}".rstrip() for action, (_, words) in ACTIONS.items()]
    parser = command_parser(MODULE, "Begin, record, judge and look at gates.", examples)
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
    configured.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE", help="set a key of the config"
    )
    ticket = argparse.ArgumentParser(add_help=False)
    ticket.add_argument("--ticket", type=require_writable, metavar="FILE", help="a file to write when it went well")

    add_json_flag(add("status", configured))
    add_json_flag(add("verify"))
    reproduce = add("reproduce")
    reproduce.add_argument("stage", choices=STAGES)
    reproduce.add_argument("--attempt", type=int, metavar="K", help="which attempt (the last one)")
    add("page")
    start = add("start", configured, ticket)
    start.add_argument("stage", choices=STAGES)
    start.add_argument("--trigger", type=int, help="the number by which the workflow knew that it must run")
    record = add("record", ticket)
    record.add_argument("stage", choices=STAGES)
    record.add_argument("name", help="under which it is recorded")
    record.add_argument("--expect", type=int, default=EXIT_DONE, metavar="CODE", help="exit code it should have")
    record.add_argument("--quiet", action="store_true", help="keep its output off the terminal")
    record.add_argument("--log", type=require_writable, metavar="FILE", help="a second place for its output")
    record.usage = "%(prog)s [options] stage name -- COMMAND …"
    judge = add("judge", ticket)
    judge.add_argument("stage", choices=[gate.name for gate in GATES])
    judge.add_argument("--log", type=require_writable, metavar="FILE", help="a second place for what it says")
    abandon = add("abandon")
    abandon.add_argument("stage", choices=STAGES)
    return parser
