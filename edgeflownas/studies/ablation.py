"""Ablation: one row per change of the configuration, all under the same small budget, with several seeds.

`<runs>/<row>_seed<k>` are the run directories. A row is better or worse than the first one only where the difference
exceeds twice its standard error, which comes from the differences between seeds in the middle one of all rows.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_json
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.parsers import command_parser
from edgeflownas.runs.records import read_trace
from edgeflownas.studies.rows import read_rows
from edgeflownas.studies.runs import Run, read_run

FIRST_STEPS = 3
"""Steps over which two ways to compute the same must agree; later, rounding grows."""


def compare(ratios: Mapping[str, Sequence[float]]) -> tuple[float, list[dict[str, Any]]]:
    """Compare each row with the first one.

    Args:
        ratios: per row, mean EPE over zero-flow EPE of every seed; at least two seeds.

    Returns:
        The standard error of a difference between two rows, and per row: mean, difference from the first, and a
        verdict: same, better or worse. The error comes from the median of the rows' variances between seeds, over the
        median of such a variance's distribution: a row that one seed alone learns must not hide all other differences.
    """
    from scipy import stats

    values = {name: np.asarray(row, float) for name, row in ratios.items()}
    seeds = len(next(iter(values.values())))
    middle = float(np.median([row.var(ddof=1) for row in values.values()]))
    deviation = math.sqrt(middle * (seeds - 1) / float(stats.chi2.median(seeds - 1)))
    error = deviation * math.sqrt(2.0 / seeds)
    first = float(next(iter(values.values())).mean())
    table = []
    for name, row in values.items():
        difference = float(row.mean()) - first
        beyond = abs(difference) > 2.0 * error
        verdict = ("worse" if difference > 0 else "better") if beyond else "same"
        table.append({"row": name, "ratio": float(row.mean()), "difference": difference, "verdict": verdict})
    return error, table


def first_losses_differ(one: Run, other: Run) -> float:
    """Largest relative difference of the paths' losses in the first steps of two traced runs."""
    traces = [read_trace(run.path / "trace.jsonl")[:FIRST_STEPS] for run in (one, other)]
    losses = [np.array([row["losses"] for row in trace]) for trace in traces]
    return float(np.max(np.abs(losses[0] / losses[1] - 1.0)))


def ablation_report(rows: Mapping[str, Mapping[str, Any]], folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The content of `ablation.json`.

    Raises:
        UserError: a run is missing.
    """
    runs = {name: [read_run(folder / f"{name}_seed{seed}") for seed in seeds] for name in rows}
    error, table = compare({name: [run.ratio for run in row] for name, row in runs.items()})
    base = next(iter(runs.values()))[0]
    for line, (name, row) in zip(table, runs.items(), strict=True):
        line["changes"] = dict(rows[name])
        line["ratios"] = [run.ratio for run in row]
        line["clip_rate"] = float(np.mean([run.last["clip_rate"] for run in row]))
        line["grad_norm_p50"] = float(np.mean([run.last["grad_norm_p50"] for run in row]))
        line["fairness_gap"] = max(int(run.last["fairness_gap"]) for run in row)
        line["first_losses_differ"] = first_losses_differ(row[0], base)
        line["config_hash"] = row[0].manifest["config_hash"]
    return {
        "seeds": list(seeds),
        "steps": base.manifest["global_step"],
        "standard_error": error,
        "device": base.manifest["device"]["name"],
        "rows": table,
    }


def print_table(report: Mapping[str, Any]) -> None:
    """The table."""
    print(
        f"{'row':22}{'of zero flow':>14}{'difference':>12}{'verdict':>9}{'clipped':>9}{'norm p50':>10}{'gap':>5}"
        f"{'first losses':>14}"
    )
    for line in report["rows"]:
        print(
            f"{line['row']:22}{line['ratio']:14.3f}{line['difference']:+12.3f}{line['verdict']:>9}"
            f"{line['clip_rate']:9.2f}{line['grad_norm_p50']:10.2f}{line['fairness_gap']:5d}"
            f"{line['first_losses_differ']:14.1e}"
        )
    print(
        f"{report['steps']} steps, seeds {report['seeds']}, standard error of a difference "
        f"{report['standard_error']:.3f}; first losses: largest relative difference in {FIRST_STEPS} steps"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.ablation",
        __doc__.splitlines()[0],
        ("--rows config/ablation.yaml --runs outputs/supernet/runs/ablation --seeds 42 43 --out ablation.json",),
    )
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE", help="the table's rows (.yaml)")
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR", help="where the rows' runs lie")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="two seeds or more")
    parser.add_argument("--out", type=require_writable, required=True, help="the table as JSON")
    arguments = parser.parse_args(argv)
    if len(arguments.seeds) < 2:
        raise UserError("--seeds: two seeds or more, or nothing is known of the noise")
    report = ablation_report(read_rows(arguments.rows), arguments.runs, arguments.seeds)
    write_json(arguments.out, report, schema="ablation.schema.json")
    print_table(report)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
