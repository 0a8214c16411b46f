"""The command that evaluates subnets of a trained supernet, and changes nothing."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.command_line import add_config_flags, add_data_root_flag, config_from_flags
from edgeflownas.config import Config
from edgeflownas.console.printer import Printer, judging_line
from edgeflownas.data.evaluation_set import find_evaluation_set
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.eval_pool import POOL_CYCLES, eval_pool
from edgeflownas.nas.fair_sampler import cycles_of
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.parsers import add_json_flag, command_parser, print_json
from edgeflownas.runs.records import METRICS
from edgeflownas.training.restored import load_evaluator

EXAMPLES = (
    "--config config/config.yaml --eval_only --bn_recal_batches 8 --output_dir outputs/supernet/runs/gate3_epochs",
    "--config config/config.yaml --output_dir outputs/supernet/runs/gate4 --arch 0,0,0,0,2,1,2,2,2",
)


def _parser() -> argparse.ArgumentParser:
    description = "Recalibrate and evaluate subnets of a checkpoint: the eval pool, or the given codes."
    parser = command_parser("edgeflownas.nas.supernet_eval", description, EXAMPLES)
    add_config_flags(parser)
    add = parser.add_argument
    add("--eval_only", action="store_true", help="accepted and without effect: this command never trains")
    add("--bn_recal_batches", type=int, metavar="N", help="batches to recalibrate batch norm on")
    add("--checkpoint", default="last", metavar="best|last|FILE", help="which checkpoint (%(default)s)")
    subnets = parser.add_mutually_exclusive_group()
    subnets.add_argument("--arch", nargs="+", metavar="CODE", help="arch codes to evaluate instead of the eval pool")
    subnets.add_argument("--cycles", type=int, metavar="N", help="evaluate N fair cycles of subnets; the pool is 4")
    add_data_root_flag(parser)
    add("--gpu_device", type=int, metavar="N", help="index of the GPU; without a GPU the CPU is used")
    add("--output_dir", metavar="FOLDER", help="the run directory")
    add(
        "--out",
        type=require_writable,
        metavar="FILE",
        help="where to write the result (supernet_eval.json in the run directory)",
    )
    add(
        "--val",
        action="append",
        default=[],
        metavar="LAYOUT:FOLDER",
        help="also evaluate on this data set at its frames' own size: sintel:/data/MPI-Sintel; may be repeated",
    )
    add("--quiet", action="store_true", help="do not print which subnets are being evaluated")
    add_json_flag(parser)
    return parser


@dataclass(frozen=True)
class SetSettings:
    """How further data sets are inspected and read."""

    on_bad_sample: Annotated[str, "data.on_bad_sample"]
    max_bad_fraction: Annotated[float, "data.max_bad_fraction"]
    workers: Annotated[int, "data.workers"]


def evaluate(
    config: Config,
    checkpoint_name: str,
    codes: Sequence[str] | None,
    watch: Callable[[dict[str, Any]], None],
    cycles: int = POOL_CYCLES,
    sets: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate some fair cycles of subnets, or `codes`, with the weights of a checkpoint.

    Args:
        codes: arch codes; None for the eval pool, or a larger one of `cycles` cycles.
        watch: called with what is evaluated.
        sets: further data sets to evaluate on, as `find_evaluation_set` takes them.

    Returns:
        The content of `supernet_eval.json`.

    Raises:
        UserError: no such checkpoint, a damaged one, one of another network, wrong codes, or no data.
    """
    space = load_search_space(config["network.search_space"])
    wanted = None if codes is None else [parse_code(code, space) for code in codes]
    pool = eval_pool(space, cycles) if wanted is None else cycles_of(wanted, space)
    settings = config.view(SetSettings)
    # Before the backend is imported, which takes ten seconds and more.
    tested = [
        find_evaluation_set(words, settings.on_bad_sample, settings.max_bad_fraction, settings.workers)
        for words in sets
    ]
    path, checkpoint, evaluator, data = load_evaluator(config, checkpoint_name)

    from edgeflownas.training.evaluation import pool_summary
    from edgeflownas.training.set_evaluation import evaluate_set

    among = None if wanted is None else [format_code(code) for code in wanted]
    results = evaluator.evaluate(pool, data.recalibration(), data.validation(), watch, among)
    if among is not None:
        # Cycles may have other paths besides.
        found = {result["code"]: result for result in results}
        results = [found[code] for code in among]
    mean_epe, std_epe, noise_epe = pool_summary(results)
    further: dict[str, Any] = {}
    if tested:
        statistics, _, _ = evaluator.recalibrate(pool, data.recalibration(), watch)
        further["sets"] = [evaluate_set(evaluator, pool, statistics, one, settings.workers, watch) for one in tested]
    for one in further.get("sets", []):
        by_code = {subnet["code"]: subnet for subnet in one["subnets"]}
        one["subnets"] = [by_code[result["code"]] for result in results]
    return {
        "checkpoint": {
            "path": str(path),
            "sha256": sha256_file(path),
            **{key: checkpoint.header[key] for key in ("epoch", "global_step", "config_hash")},
        },
        "config_hash": config.hash,
        "bn_recal_batches": config["eval.bn_recal_batches"],
        "samples": data.val_samples,
        "zero_flow_epe": evaluator.zero_flow_epe(data.validation()),
        "mean_epe": mean_epe,
        "std_epe": std_epe,
        "noise_epe": noise_epe,
        "subnets": results,
        **further,
    }


def _print_result(result: Mapping[str, Any]) -> None:
    print("arch code, EPE (px), share of pixels off by more than 1, 3, 5 px, Fl-all, last shift of BN statistics")
    for row in result["subnets"]:
        print(
            f"{row['code']}  {row['epe']:8.4f} {row['outliers_1px']:7.2%} {row['outliers_3px']:7.2%} "
            f"{row['outliers_5px']:7.2%} {row['fl_all']:7.2%} {row['bn_shift']:8.4f}"
        )
    print(
        f"mean EPE {result['mean_epe']:.4f} ± {result['std_epe']:.4f} px, error "
        f"{result['noise_epe']:.4f} px, zero-flow {result['zero_flow_epe']:.4f} px"
    )
    for one in result.get("sets", []):
        _print_set(one)
    print(f"{result['samples']} samples, bn_recal_batches={result['bn_recal_batches']}")


def _print_set(result: Mapping[str, Any]) -> None:
    print(f"{result['root']} ({result['layout']}), {result['samples']} samples at their own size")
    print("arch code, pass, pixels, share of them, EPE (px), off by more than 1, 3, 5 px, Fl-all")
    whole = {row["pass"]: row["pixels"] for row in result["zero_flow"] if row["pixels_of"] == "all"}
    for subnet in [{"code": "zero flow", "rows": result["zero_flow"]}, *result["subnets"]]:
        for row in subnet["rows"]:
            shares = [f"{row[name]:7.2%}" for name in METRICS[1:] if name in row]
            print(
                f"{subnet['code']}  {row['pass']} {row['pixels_of']:9s} {row['pixels'] / whole[row['pass']]:7.2%} "
                f"{row['epe']:8.4f} {' '.join(shares)}".rstrip()
            )


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.supernet_eval`."""
    arguments = _parser().parse_args(argv)
    flags: dict[str, Any] = {
        "eval.bn_recal_batches": arguments.bn_recal_batches,
        "train.output_dir": arguments.output_dir,
        "train.gpu_device": arguments.gpu_device,
    }
    config = config_from_flags(arguments, flags)
    out = arguments.out or require_writable(Path(config["train.output_dir"]) / "supernet_eval.json")
    printer = Printer("quiet" if arguments.quiet else "normal", sys.stderr)
    cycles = POOL_CYCLES if arguments.cycles is None else arguments.cycles
    if cycles < 1:
        raise UserError(f"--cycles is {cycles}; expected at least 1")

    def watch(where: dict[str, Any]) -> None:
        printer.progress(lambda: judging_line(where))

    try:
        result = evaluate(config, arguments.checkpoint, arguments.arch, watch, cycles, arguments.val)
    finally:
        printer.end_line()
    write_json(out, result, schema="supernet_eval.schema.json")
    if arguments.json:
        print_json(result)
    else:
        _print_result(result)
        print(f"written to {out}")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
