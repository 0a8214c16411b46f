"""How much batch-norm recalibration matters: the pool's EPE and ranking with 0, 1, 8 and 32 batches, in one table.

Nothing is trained. With 0 batches every batch norm has mean 0 and variance 1, like a new one: the supernet keeps no
running statistics, because those of a mixture of subnets would fit none of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_json
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.ranking import kendall_tau
from edgeflownas.parsers import command_parser
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.training.restored import load_evaluator

BATCHES = (0, 1, 8, 32)


def recalibration_table(run_dir: Path, batches: Sequence[int]) -> dict[str, Any]:
    """The content of `recalibration.json`: the pool of a run's last checkpoint, evaluated once per number of batches.

    Raises:
        UserError: the run, its data or its checkpoint cannot be read.
    """
    run = RunDirectory(run_dir)
    config = run.read_config({})
    _, checkpoint, evaluator, data = load_evaluator(config, "last")

    # The backend is imported by now, which takes ten seconds and more.
    from edgeflownas.training.evaluation import pool_summary, uncalibrated
    from edgeflownas.training.run_data import RunData

    pool = eval_pool(evaluator.space)
    rows: list[dict[str, Any]] = []
    for count in batches:
        data = RunData(run.read_config({"eval.bn_recal_batches": max(count, 1)}), data.index)
        statistics, shifts, _ = evaluator.recalibrate(pool, data.recalibration())
        results = evaluator.measure(pool, statistics if count else uncalibrated(statistics), data.validation())
        mean_epe, std_epe, noise_epe = pool_summary(results)
        rows.append(
            {
                "batches": count,
                "mean_epe": mean_epe,
                "std_epe": std_epe,
                "noise_epe": noise_epe,
                "bn_shift": float(np.median(shifts)) if count > 1 else None,
                "epe": {result["code"]: result["epe"] for result in results},
            }
        )
    most = list(rows[-1]["epe"].values())
    for row in rows:
        row["tau"] = kendall_tau(list(row["epe"].values()), most)
    return {
        "run": str(run_dir),
        "config_hash": config.hash,
        "global_step": checkpoint.header["global_step"],
        "batch_size": config["eval.batch_size"],
        "zero_flow_epe": evaluator.zero_flow_epe(data.validation()),
        "rows": rows,
    }


def print_table(report: dict[str, Any]) -> None:
    """The table, and below it each subnet."""
    rows = report["rows"]
    print(f"{report['run']} after {report['global_step']} steps, batches of {report['batch_size']}")
    print(f"{'batches':>8}{'mean EPE':>12}{'std':>12}{'noise':>12}{'last shift':>12}{'tau to most':>13}")
    for row in rows:
        shift = "" if row["bn_shift"] is None else f"{row['bn_shift']:.4f}"
        tau = "" if row["tau"] is None else f"{row['tau']:.2f}"
        means = "".join(f"{row[key]:12.5g}" for key in ("mean_epe", "std_epe", "noise_epe"))
        print(f"{row['batches']:8d}{means}{shift:>12}{tau:>13}")
    print(f"zero-flow EPE {report['zero_flow_epe']:.4f} px")
    print(f"\n{'arch code':20}" + "".join(f"{row['batches']:>12d}" for row in rows))
    for code in rows[-1]["epe"]:
        print(f"{code:20}" + "".join(f"{row['epe'][code]:12.5g}" for row in rows))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.recalibration",
        __doc__.splitlines()[0],
        ("--run_dir outputs/supernet/runs/learning_generalise", "--run_dir RUN --batches 0 4 16 --out table.json"),
    )
    parser.add_argument("--run_dir", type=Path, required=True, help="a run directory with its checkpoint")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="numbers of batches (0 1 8 32)")
    parser.add_argument("--out", type=require_writable, help="where to write the table as JSON")
    arguments = parser.parse_args(argv)
    batches = sorted(set(arguments.batches))
    if batches[0] < 0:
        raise UserError(f"--batches: expected 0 or more, got {batches[0]}")
    report = recalibration_table(arguments.run_dir, batches)
    print_table(report)
    if arguments.out:
        write_json(arguments.out, report, schema="recalibration.schema.json")
        print(f"written to {arguments.out}")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
