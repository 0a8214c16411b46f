"""The command that says what the retrained picks reached: `retrained.json`."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, sha256_file, write_json
from edgeflownas.command_line import add_config_flags, config_from_flags
from edgeflownas.config import Config, differences
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.ranking import agreement
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import add_json_flag, command_parser, print_json
from edgeflownas.retraining.picks import Taken, picks_of, read_selection
from edgeflownas.retraining.settings import RETRAINED, RETRAINED_SCHEMA, RetrainSettings, run_directory
from edgeflownas.retraining.train import RUNS, SELECTED
from edgeflownas.runs.pool_names import mean_epe
from edgeflownas.runs.records import COMPLETED, read_history
from edgeflownas.runs.run_directory import RunDirectory

# Keys that decide what an EPE means, besides samples and data.
EVALUATION_KEYS = (
    *("network.height", "network.width", "data.max_flow"),
    *("eval.split", "eval.batch_size", "eval.bn_recal_batches"),
)


def merged(config: Config, selection_file: Path, runs: Path) -> dict[str, Any]:
    """The content of `retrained.json`.

    Args:
        config: the supernet's, with the `retrain` section.
        selection_file: the `selection.json` that the picks are from.
        runs: the folder of the picks' runs.

    Raises:
        UserError: a run is missing, damaged, or was not trained to its end.
    """
    settings = config.view(RetrainSettings)
    name = config["network.search_space"]
    space = load_search_space(name)
    selection = read_selection(selection_file)
    picks = [
        _row(config, space, selection, pick, RunDirectory(run_directory(runs, pick)))
        for pick in picks_of(selection, space, settings.subnets)
    ]
    return {
        "selection": {
            "sha256": sha256_file(selection_file),
            "checkpoint": selection["evaluation"]["checkpoint"]["sha256"],
        },
        "search_space": name,
        "init": settings.init,
        "subnets": settings.subnets,
        "picks": picks,
        "order": order_kept([row["inherited_epe"] for row in picks], [row["epe"] for row in picks]),
    }


def _row(
    config: Config, space: SearchSpace, selection: Mapping[str, Any], pick: Taken, run: RunDirectory
) -> dict[str, Any]:
    if not run.manifest.is_file():
        raise UserError(f"{run.path}: pick {pick.number} ({pick.digits}) was not trained to its end; train it first")
    manifest = read_json(run.manifest, schema="train_manifest.schema.json")
    if manifest["stopped_because"] not in COMPLETED:
        raise UserError(
            f"{run.path}: pick {pick.number} ({pick.digits}) was stopped at step {manifest['global_step']} "
            f"({manifest['stopped_because']}); the same command continues it"
        )
    history = read_history(run.history)
    samples = read_json(run.pool_results, schema="pool_results.schema.json")["samples"]
    best = next(row for row in history if row["epoch"] == manifest["best"]["epoch"])
    initial = manifest.get("init_from")
    height, width = manifest["input_shape"][:2]
    return {
        "number": pick.number,
        "role": pick.role,
        "code": format_code(pick.code),
        "run": run.path.name,
        "checkpoint": {"name": "best", "sha256": manifest["files"]["checkpoint_best"]["sha256"]},
        "input_shape": manifest["input_shape"],
        "inherited_epe": pick.epe,
        "start_epe": initial["subnets"][0]["epe"] if initial else None,
        "epe": mean_epe(best),
        "zero_flow_epe": best["zero_flow_epe"],
        "samples": samples,
        "otherwise": _evaluated_otherwise(config, selection["evaluation"], manifest, samples, run),
        "epochs": manifest["epochs_done"],
        "steps": manifest["global_step"],
        "stopped_because": manifest["stopped_because"],
        "seconds": round(sum(row["seconds"] for row in history), 3),
        **subnet_cost(space, pick.code, height, width, config["network.init_neurons"]),
    }


def _evaluated_otherwise(
    config: Config, evaluation: Mapping[str, Any], manifest: Mapping[str, Any], samples: int, run: RunDirectory
) -> list[str]:
    """What is otherwise in the evaluation of a pick's own run than in that of the selection."""
    own = run.read_config({})
    before = {key: config[key] for key in EVALUATION_KEYS}
    now = {key: own[key] for key in EVALUATION_KEYS}
    before |= {"samples": evaluation["samples"], "data": evaluation["data"]["digest"][:12]}
    now |= {"samples": samples, "data": manifest["data"]["digest"][:12]}
    return differences(before, now)


def order_kept(foretold: Sequence[float], reached: Sequence[float]) -> dict[str, Any]:
    """How far the order by the supernet's EPE is that of the retrained picks.

    Args:
        foretold: per pick, in the supernet, pixels.
        reached: per pick, trained alone, pixels.
    """
    pairs = [*itertools.combinations(zip(foretold, reached, strict=True), 2)]
    swapped = sum((one[0] - two[0]) * (one[1] - two[1]) < 0 for one, two in pairs)
    tau = agreement(foretold, reached).tau if pairs else None
    return {"pairs": len(pairs), "swapped": swapped, "tau": tau}


def print_retrained(retrained: Mapping[str, Any]) -> None:
    """What was reached, as a table."""
    print(f"{'pick':30}{'code':20}{'supernet':>10}{'begin':>9}{'end':>9}{'zero flow':>11}{'steps':>8}{'minutes':>9}")
    for row in retrained["picks"]:
        begin = "" if row["start_epe"] is None else f"{row['start_epe']:.4f}"
        print(
            f"{row['role']:30}{row['code']:20}{row['inherited_epe']:10.4f}{begin:>9}{row['epe']:9.4f}"
            f"{row['zero_flow_epe']:11.4f}{row['steps']:8d}{row['seconds'] / 60:9.1f}"
        )
        if row["otherwise"]:
            print(f"  evaluated otherwise than in the selection: {'; '.join(row['otherwise'])}")
    order = retrained["order"]
    print(f"EPE in pixels; the supernet orders {order['swapped']} of {order['pairs']} pairs the other way round")


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.retraining.merge`."""
    parser = command_parser(
        "edgeflownas.retraining.merge",
        "What the retrained picks of a selection reached, each against the supernet that it is from.",
        ("", "--runs runs/scratch --set retrain.init=scratch"),
    )
    add_config_flags(parser)
    parser.add_argument("--selection", type=Path, default=SELECTED, metavar="FILE", help="the selection (%(default)s)")
    parser.add_argument(
        "--runs", type=Path, default=RUNS, metavar="FOLDER", help="where the picks' run directories are (%(default)s)"
    )
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    config = config_from_flags(arguments, {})
    out = require_writable(arguments.runs / RETRAINED)
    retrained = merged(config, arguments.selection, arguments.runs)
    write_json(out, retrained, schema=RETRAINED_SCHEMA)
    if arguments.json:
        print_json(retrained)
        return EXIT_DONE
    print_retrained(retrained)
    print(out)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
