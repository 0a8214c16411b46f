"""The command `python -m edgeflownas.gates`: start, record, judge and inspect gates."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import write_json, write_text
from edgeflownas.config import Config, parse_assignment, resolve_config
from edgeflownas.console.terminal import GREEN, RED, YELLOW, painted
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_INTERRUPTED, UserError, run_command
from edgeflownas.gates.criteria import warnings
from edgeflownas.gates.lifecycle.attempts import latest_attempt, open_attempt
from edgeflownas.gates.lifecycle.long_run import evaluate_long_run, start_long_run
from edgeflownas.gates.lifecycle.recorder import command_line, record_command
from edgeflownas.gates.lifecycle.reports import (
    close_failed,
    failure_text,
    in_short,
    next_command,
    table_head,
    table_row,
)
from edgeflownas.gates.lifecycle.starting import close_interrupted, start_gate, start_lock
from edgeflownas.gates.lifecycle.states import DAMAGED, stage_states
from edgeflownas.gates.parser import gates_parser
from edgeflownas.gates.registry import LONG_RUN, find_gate
from edgeflownas.parsers import print_json


def _start(arguments: argparse.Namespace) -> int:
    overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
    config = resolve_config(arguments.config, overrides)
    with start_lock(arguments.output_dir, arguments.stage):
        if arguments.stage == LONG_RUN:
            attempt = start_long_run(arguments.output_dir, arguments.config, overrides, config)
        else:
            gate = find_gate(arguments.stage)
            attempt = start_gate(gate, arguments.output_dir, arguments.config, overrides, config, arguments.trigger)
    if arguments.done_file:
        write_json(arguments.done_file, {"gate": attempt.gate, "attempt": attempt.number})
    changes = attempt.start["changes"]
    print(f"{attempt.gate}: attempt {attempt.number}", flush=True)
    if changes is not None:
        print(f"since the previous attempt: {in_short(changes, 5) or 'nothing changed'}", flush=True)
    _redraw(arguments.output_dir)
    return EXIT_DONE


def _record(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    if not argv:
        raise UserError("record: expected a command after --")
    attempt = open_attempt(arguments.output_dir, arguments.stage)
    print(f"{attempt.gate} · {arguments.name}: {command_line(argv)}", flush=True)
    record = record_command(attempt, arguments.name, argv, arguments.expect, arguments.quiet, arguments.log)
    print(f"{attempt.gate} · {arguments.name}: exit {record['exit_code']}, {record['seconds']:.1f} s", flush=True)
    if record["status"] == "done":
        if report := close_failed(attempt):
            # Another command failed, and waited for this one.
            _redraw(arguments.output_dir)
            print(f"\n{failure_text(report, attempt.folder)}\n", flush=True)
        elif attempt.gate == LONG_RUN:
            report = evaluate_long_run(attempt, arguments.output_dir)
            _redraw(arguments.output_dir)
            print("\n".join(["", table_head(), *map(table_row, report["criteria"])]), flush=True)
            if report["status"] != "passed":
                print(f"\n{failure_text(report, attempt.folder)}\n", flush=True)
                return EXIT_CHECK_FAILED
            if following := next_command(LONG_RUN, report["provenance"].get("invocation")):
                print(f"next: `{following}`", flush=True)
        if arguments.done_file:
            write_json(arguments.done_file, {"gate": attempt.gate, "attempt": attempt.number, "command": record})
        return EXIT_DONE
    if report := close_failed(attempt):
        _redraw(arguments.output_dir)
        print(f"\n{failure_text(report, attempt.folder)}\n", flush=True)
    else:
        print(f"{attempt.gate} · {arguments.name} {record['status']}; commands beside it still run", flush=True)
    return EXIT_INTERRUPTED if record["status"] == "interrupted" else EXIT_CHECK_FAILED


def _judge(arguments: argparse.Namespace) -> int:
    # Criteria read checkpoints and histories with NumPy; the other actions, which run often, do not need it.
    from edgeflownas.gates.lifecycle.evaluation import evaluate_gate

    gate = find_gate(arguments.stage)
    attempt = open_attempt(arguments.output_dir, gate.name)
    said: list[str] = []

    def say(text: str, colour: str | None = None) -> None:
        said.append(text)
        # A row's first character is its mark, and all of it that has a colour.
        print(painted(text[0], colour) + text[1:] if colour else text, flush=True)

    def decided(finding: dict[str, Any]) -> None:
        say(table_row(finding), RED if not finding["passed"] else YELLOW if "warning" in finding else GREEN)

    say(f"\n{gate.name}, {gate.title}, attempt {attempt.number}\n{table_head()}")
    report = evaluate_gate(gate, attempt, arguments.output_dir, decided)
    _redraw(arguments.output_dir)
    if report["status"] == "passed":
        if arguments.done_file:
            write_json(arguments.done_file, {"gate": attempt.gate, "attempt": attempt.number})
        paths = ", ".join(gate.in_short([artifact["path"] for artifact in report["artifacts"]]))
        for words in warnings(report["criteria"]):
            say(f"warning: {words}")
        say(f"{gate.name} passed; published in {arguments.output_dir}: {paths}")
        if following := next_command(gate.name, report["provenance"].get("invocation")):
            say(f"next: `{following}`")
    else:
        say(f"\n{failure_text(report, attempt.folder)}")
    print(flush=True)
    if arguments.log:
        write_text(arguments.log, "\n".join(said) + "\n")
    return EXIT_DONE if report["status"] == "passed" else EXIT_CHECK_FAILED


def _status(arguments: argparse.Namespace) -> int:
    config: Config | None = None
    if arguments.config or arguments.assignments:
        overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
        config = resolve_config(arguments.config, overrides)
    states = stage_states(arguments.output_dir, config, thorough=True)
    if arguments.json:
        facts = [(state, state.attempt.number if state.attempt else None) for state in states]
        print_json([{"gate": s.name, "state": s.state, "attempt": n, "why": s.why} for s, n in facts])
        return EXIT_DONE
    print(f"{'gate':9}{'state':14}{'attempt':9}{'when':22}{'commit':10}why")
    for state in states:
        start = state.attempt.start if state.attempt and state.state != DAMAGED else None
        number = str(state.attempt.number) if state.attempt else ""
        when = start["started"][:19] if start else ""
        commit = (start["provenance"]["git"]["commit"] or "")[:8] if start else ""
        print(f"{state.name:9}{state.state:14}{number:9}{when:22}{commit:10}{in_short(state.why, 3)}".rstrip())
    return EXIT_DONE


def _abandon(arguments: argparse.Namespace) -> int:
    attempt = latest_attempt(arguments.output_dir, arguments.stage)
    if attempt is None or attempt.is_closed:
        raise UserError(f"{arguments.stage} has no unfinished attempt")
    close_interrupted(arguments.output_dir, arguments.stage)
    _redraw(arguments.output_dir)
    what = "is closed as interrupted" if attempt.is_closed else "is put aside, because its records cannot be read"
    print(f"{arguments.stage} attempt {attempt.number} {what}")
    return EXIT_DONE


def _verify(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.lifecycle.verifying import verify

    faults = verify(arguments.output_dir)
    if arguments.json:
        print_json({"output_dir": str(arguments.output_dir), "faults": faults})
        return EXIT_CHECK_FAILED if faults else EXIT_DONE
    for fault in faults:
        print(f"fault: {fault}")
    if not faults:
        print(f"{arguments.output_dir}: everything agrees with the verdicts")
    return EXIT_CHECK_FAILED if faults else EXIT_DONE


def _reproduce(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.lifecycle.verifying import reproduction

    print("\n".join(reproduction(arguments.output_dir, arguments.stage, arguments.attempt)))
    return EXIT_DONE


def _page(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.lifecycle.page import write_page

    print(write_page(arguments.output_dir))
    return EXIT_DONE


def _redraw(output_dir: Path) -> None:
    # The page needs a template engine, which the other actions do not load.
    from edgeflownas.gates.lifecycle.page import draw_page

    draw_page(output_dir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action. What follows a lone `--` is the command to record."""
    words = list(sys.argv[1:] if argv is None else argv)
    own, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    arguments = gates_parser().parse_args(own)
    if arguments.action == "record":
        return _record(arguments, command)
    actions = {
        "start": _start,
        "judge": _judge,
        "status": _status,
        "verify": _verify,
        "reproduce": _reproduce,
        "page": _page,
        "abandon": _abandon,
    }
    return actions[arguments.action](arguments)


if __name__ == "__main__":
    run_command(main)
