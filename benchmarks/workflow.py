"""What the workflow itself costs: Snakemake's calls, the commands before they compute, and where a run's time went.

python -m benchmarks.workflow                      # where `snakemake gate4 --profile local` has finished
python -m benchmarks.workflow --part rules --json  # only the table of that run, from Snakemake's own benchmark files
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import alternate, circumstances
from edgeflownas.artifacts import PROJECT_ROOT
from edgeflownas.errors import UserError, run_command
from edgeflownas.parsers import COMMANDS

PARTS = ("calls", "commands", "rules")
SNAKEMAKE = (sys.executable, "-m", "snakemake")
# What is compared with the first of each, and by how many seconds it may be slower.
CALLS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "snakemake --version": ((*SNAKEMAKE, "--version"), None),
    "snakemake -n gate4 --profile local": ((*SNAKEMAKE, "-n", "gate4", "--profile", "local"), 1.5),
    "snakemake gate4 --profile local": ((*SNAKEMAKE, "gate4", "--profile", "local"), 2.0),
}
IMPORTS = ("import numpy, yaml", (sys.executable, "-c", "import numpy, yaml"))
COMMAND_MAY_ADD_S = 0.5


def _commands() -> dict[str, tuple[tuple[str, ...], float | None]]:
    name, argv = IMPORTS
    ways: dict[str, tuple[tuple[str, ...], float | None]] = {name: (argv, None)}
    for module in COMMANDS:
        ways[f"{module} --help"] = ((sys.executable, "-m", module, "--help"), COMMAND_MAY_ADD_S)
    dry_run = (sys.executable, "-m", "edgeflownas.train_supernet", "--dry_run")
    return ways | {"edgeflownas.train_supernet --dry_run": (dry_run, COMMAND_MAY_ADD_S)}


def compare(ways: Mapping[str, tuple[Sequence[str], float | None]], rounds: int) -> list[dict[str, Any]]:
    """Medians of each way in wall-clock and CPU seconds, and of what it adds to the first one of its round.

    CPU seconds hardly depend on what else the machine does; on a quiet one they are the wall-clock seconds.
    """
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    runs: dict[str, Callable[[], None]] = {name: partial(_spend, argv, cpu[name]) for name, (argv, _) in ways.items()}
    wall = alternate(runs, rounds)
    first = next(iter(ways))
    rows = []
    for name, (_, may_add) in ways.items():
        row: dict[str, Any] = {"command": name, "may_add_s": may_add}
        for kind, seconds in (("wall", wall), ("cpu", cpu)):
            row[f"{kind}_s"] = round(statistics.median(seconds[name]), 2)
            added = [one - base for one, base in zip(seconds[name], seconds[first], strict=True)]
            row[f"adds_{kind}_s"] = round(statistics.median(added), 2)
        rows.append(row)
    return rows


def _spend(argv: Sequence[str], cpu: list[float]) -> None:
    process = subprocess.Popen(argv, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"exit code {process.returncode} of {' '.join(argv)}")
    cpu.append(usage.ru_utime + usage.ru_stime)


def require_up_to_date() -> None:
    """Refuse to measure an up-to-date call where there is something left to do.

    Raises:
        UserError: the gates have not run, or have gone stale.
    """
    argv, _ = CALLS["snakemake -n gate4 --profile local"]
    done = subprocess.run(argv, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    if "Nothing to be done" not in done.stdout + done.stderr:
        raise UserError("gate 4 is not up to date here: run `snakemake gate4 --profile local` first")


def read_rules(output_dir: Path) -> list[dict[str, Any]]:
    """What each rule of a finished run took, in the order in which they ended.

    Raises:
        UserError: no benchmark files are there.
    """
    files = sorted((output_dir / "benchmarks").glob("**/*.tsv"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise UserError(f"{output_dir / 'benchmarks'}: no benchmark files; run `snakemake gate4 --profile local` first")
    rows = []
    for file in files:
        with open(file, encoding="utf-8", newline="") as lines:
            record = next(csv.DictReader(lines, delimiter="\t"))
        # Snakemake writes NA for what ended before it looked.
        cpu, peak = (None if record[key] in ("NA", "-") else float(record[key]) for key in ("cpu_time", "max_rss"))
        stage = file.parent.name if file.parent.name != "benchmarks" else "data"
        rows.append({"stage": stage, "rule": file.stem, "s": float(record["s"]), "cpu_s": cpu, "peak_mb": peak})
    return rows


def _print_comparison(rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"{'':44}{'wall s':>8}{'CPU s':>8}{'adds wall':>11}{'adds CPU':>10}{'may add':>9}")
    for row in rows:
        may = "" if row["may_add_s"] is None else f"{row['may_add_s']:.1f}"
        print(
            f"{row['command']:44}{row['wall_s']:8.2f}{row['cpu_s']:8.2f}{row['adds_wall_s']:11.2f}"
            f"{row['adds_cpu_s']:10.2f}{may:>9}"
        )


def _print_rules(rows: Sequence[Mapping[str, Any]]) -> None:
    total = sum(row["s"] for row in rows)
    print(f"{'stage':8}{'rule':22}{'s':>8}{'share':>8}{'CPU s':>9}{'peak MiB':>10}")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        for row in (row for row in rows if row["stage"] == stage):
            cpu, peak = ("–" if row[key] is None else f"{row[key]:.1f}" for key in ("cpu_s", "peak_mb"))
            print(f"{stage:8}{row['rule']:22}{row['s']:8.1f}{row['s'] / total:8.1%}{cpu:>9}{peak:>10}")
        seconds = sum(row["s"] for row in rows if row["stage"] == stage)
        print(f"{stage:8}{'all':22}{seconds:8.1f}{seconds / total:8.1%}")
    print(f"{'':8}{'all rules':22}{total:8.1f}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflow", description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each way (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/supernet"), help="the run (%(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS
    result: dict[str, Any] = {}
    if "calls" in parts:
        require_up_to_date()
        result["calls"] = compare(CALLS, arguments.rounds)
    if "commands" in parts:
        result["commands"] = compare(_commands(), arguments.rounds)
    if "rules" in parts:
        result["rules"] = read_rules(arguments.output_dir)
    result |= {"rounds": arguments.rounds, **circumstances()}
    if arguments.json:
        print(json.dumps(result))
        return 0
    for part in parts:
        (_print_rules if part == "rules" else _print_comparison)(result[part])
        print()
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {arguments.rounds} rounds")
    return 0


if __name__ == "__main__":
    run_command(main)
