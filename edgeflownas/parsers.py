"""How every command's `--help` is built: what it does, its flags, examples that can be typed, and its exit codes."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

EXIT_CODES = "exit codes: 0 done, 1 a check failed, 2 wrong use or input, 3 interrupted, can be resumed"
# Every module that `python -m` starts as a command; a command missing here has no page in the reference.
COMMANDS = (
    "edgeflownas.data.index",
    "edgeflownas.data.synthetic",
    "edgeflownas.deploy.compile",
    "edgeflownas.deploy.deliver",
    "edgeflownas.deploy.export",
    "edgeflownas.gates",
    "edgeflownas.nas.arch_codec",
    "edgeflownas.nas.check_manifest",
    "edgeflownas.nas.cost",
    "edgeflownas.nas.eval_pool",
    "edgeflownas.nas.fair_sampler",
    "edgeflownas.nas.model_shape_check",
    "edgeflownas.nas.space_eval",
    "edgeflownas.nas.supernet_eval",
    "edgeflownas.predict",
    "edgeflownas.reporting.delivery_page",
    "edgeflownas.reporting.flow_pictures",
    "edgeflownas.reporting.launch_scripts",
    "edgeflownas.reporting.training_report",
    "edgeflownas.retraining.merge",
    "edgeflownas.retraining.train",
    "edgeflownas.selection.chip_costs",
    "edgeflownas.selection.compare",
    "edgeflownas.selection.select",
    "edgeflownas.studies.ablation",
    "edgeflownas.studies.fidelity",
    "edgeflownas.studies.learning",
    "edgeflownas.studies.overfit_set",
    "edgeflownas.studies.recalibration",
    "edgeflownas.studies.single_subnet",
    "edgeflownas.train_supernet",
    "edgeflownas.watch",
)


def command_parser(module: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of `python -m <module>`; `examples` are its arguments."""
    command = f"python -m {module}"
    return argparse.ArgumentParser(prog=command, **help_texts(command, description, examples))


def help_texts(command: str, description: str, examples: Sequence[str]) -> dict[str, Any]:
    """What every parser has besides flags, as arguments of `ArgumentParser` or `add_parser`."""
    lines = ["examples:", *(f"  {command} {words}".rstrip() for words in examples), "", EXIT_CODES]
    return {
        "description": description,
        "epilog": "\n".join(lines),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """`--json`, for programs: standard output is then one JSON value and nothing else."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value, for programs")


def print_json(value: Any) -> None:
    """Print a command's result for a program."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
