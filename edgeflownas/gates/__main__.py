"""The command `python -m edgeflownas.gates`: begin, record, judge and look at gates."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.artifacts import write_json
from edgeflownas.config import Config, parse_assignment, resolve_config
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_INTERRUPTED, UserError, run_command
from edgeflownas.gates.attempts import latest_attempt, open_attempt
from edgeflownas.gates.gate import GATES, LONG_RUN, find_gate
from edgeflownas.gates.long_run import start_long_run
from edgeflownas.gates.recorder import command_line, record_command
from edgeflownas.gates.reports import close_attempt, criteria_table, failure_text, in_short
from edgeflownas.gates.starting import close_interrupted, start_gate
from edgeflownas.gates.states import gate_states

STAGES = (*(gate.name for gate in GATES), LONG_RUN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgeflownas.gates", description="Begin, record and judge gates.")
    commands = parser.add_subparsers(dest="action", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output_dir", type=Path, default=Path("outputs/supernet"), help="(%(default)s)")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", type=Path, metavar="FILE", help="config file")
    configured.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    ticket = argparse.ArgumentParser(add_help=False)
    ticket.add_argument("--ticket", type=Path, metavar="FILE", help="a file to write when it went well")

    start = commands.add_parser("start", parents=[shared, configured, ticket], help="begin an attempt at a gate")
    start.add_argument("stage", choices=STAGES)
    start.add_argument("--trigger", type=int, help="the number by which the workflow knew that it must run")
    record = commands.add_parser("record", parents=[shared, ticket], help="run a command and record it")
    record.add_argument("stage", choices=STAGES)
    record.add_argument("name", help="under which it is recorded")
    record.add_argument("--expect", type=int, default=EXIT_DONE, metavar="CODE", help="exit code it should have")
    record.add_argument("--quiet", action="store_true", help="keep its output off the terminal")
    record.add_argument("--log", type=Path, metavar="FILE", help="a second place for its output")
    record.usage = "%(prog)s [options] stage name -- COMMAND …"
    judge = commands.add_parser("judge", parents=[shared], help="judge a gate whose commands have run")
    judge.add_argument("stage", choices=[gate.name for gate in GATES])
    commands.add_parser("status", parents=[shared, configured], help="what each gate stands at")
    commands.add_parser("verify", parents=[shared], help="recompute every digest that the verdicts claim")
    reproduce = commands.add_parser("reproduce", parents=[shared], help="print what repeats an attempt")
    reproduce.add_argument("stage", choices=STAGES)
    reproduce.add_argument("--attempt", type=int, metavar="K", help="which attempt (the last one)")
    commands.add_parser("page", parents=[shared], help="draw provenance.html over all gates and attempts")
    abandon = commands.add_parser("abandon", parents=[shared], help="say that an attempt's owner is gone for certain")
    abandon.add_argument("stage", choices=STAGES)
    return parser


def _start(arguments: argparse.Namespace) -> int:
    overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
    config = resolve_config(arguments.config, overrides)
    if arguments.stage == LONG_RUN:
        attempt = start_long_run(arguments.output_dir, arguments.config, overrides, config)
    else:
        gate = find_gate(arguments.stage)
        attempt = start_gate(gate, arguments.output_dir, arguments.config, overrides, config, arguments.trigger)
    if arguments.ticket:
        write_json(arguments.ticket, {"gate": attempt.gate, "attempt": attempt.number})
    changes = attempt.start["changes"]
    print(f"{attempt.gate}: attempt {attempt.number}", flush=True)
    if changes is not None:
        print(f"since the attempt before: {in_short(changes, 5) or 'nothing changed'}", flush=True)
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
        if arguments.ticket:
            write_json(arguments.ticket, {"gate": attempt.gate, "attempt": attempt.number, "command": record})
        if attempt.gate == LONG_RUN:
            close_attempt(attempt, "passed", [])
            _redraw(arguments.output_dir)
        return EXIT_DONE
    if record["status"] == "interrupted":
        report = close_attempt(attempt, "interrupted", [f"{arguments.name} was interrupted"])
    else:
        words = f"{arguments.name} ended with exit code {record['exit_code']}, expected {record['expected_exit']}"
        report = close_attempt(attempt, "failed", [words])
    _redraw(arguments.output_dir)
    print(f"\n{failure_text(report, attempt.folder)}\n", flush=True)
    return EXIT_INTERRUPTED if record["status"] == "interrupted" else EXIT_CHECK_FAILED


def _judge(arguments: argparse.Namespace) -> int:
    # Criteria read checkpoints and histories with NumPy; the other actions, which run often, do without.
    from edgeflownas.gates.judging import judge_gate

    gate = find_gate(arguments.stage)
    attempt = open_attempt(arguments.output_dir, gate.name)
    report = judge_gate(gate, attempt, arguments.output_dir)
    _redraw(arguments.output_dir)
    print(f"\n{gate.name}, {gate.title}, attempt {attempt.number}\n{criteria_table(report['criteria'])}")
    if report["status"] != "passed":
        print(f"\n{failure_text(report, attempt.folder)}\n", flush=True)
        return EXIT_CHECK_FAILED
    paths = ", ".join(artifact["path"] for artifact in report["artifacts"])
    print(f"{gate.name} passed; published in {arguments.output_dir}: {paths}\n", flush=True)
    return EXIT_DONE


def _status(arguments: argparse.Namespace) -> int:
    config: Config | None = None
    if arguments.config or arguments.assignments:
        overrides = dict(parse_assignment(assignment) for assignment in arguments.assignments)
        config = resolve_config(arguments.config, overrides)
    print(f"{'gate':8}{'state':14}{'attempt':9}{'when':22}{'commit':10}why")
    for state in gate_states(arguments.output_dir, config, thorough=True):
        start = state.attempt.start if state.attempt else None
        number = str(state.attempt.number) if state.attempt else ""
        when = start["started"][:19] if start else ""
        commit = (start["provenance"]["git"]["commit"] or "")[:8] if start else ""
        print(f"{state.gate.name:8}{state.state:14}{number:9}{when:22}{commit:10}{in_short(state.why, 3)}".rstrip())
    return EXIT_DONE


def _abandon(arguments: argparse.Namespace) -> int:
    attempt = latest_attempt(arguments.output_dir, arguments.stage)
    if attempt is None or attempt.report is not None:
        raise UserError(f"{arguments.stage} has no unfinished attempt")
    close_interrupted(arguments.output_dir, arguments.stage)
    _redraw(arguments.output_dir)
    print(f"{arguments.stage} attempt {attempt.number} is closed as interrupted")
    return EXIT_DONE


def _verify(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.verifying import verify

    faults = verify(arguments.output_dir)
    for fault in faults:
        print(f"fault: {fault}")
    if not faults:
        print(f"{arguments.output_dir}: everything is as the verdicts say")
    return EXIT_CHECK_FAILED if faults else EXIT_DONE


def _reproduce(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.verifying import reproduction

    print("\n".join(reproduction(arguments.output_dir, arguments.stage, arguments.attempt)))
    return EXIT_DONE


def _page(arguments: argparse.Namespace) -> int:
    from edgeflownas.gates.page import write_page

    print(write_page(arguments.output_dir))
    return EXIT_DONE


def _redraw(output_dir: Path) -> None:
    # The page needs a template engine; the actions that leave it alone do without.
    from edgeflownas.gates.page import draw_page

    draw_page(output_dir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action. What follows a lone `--` is the command to record."""
    words = list(sys.argv[1:] if argv is None else argv)
    own, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    arguments = _parser().parse_args(own)
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
