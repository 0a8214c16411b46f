"""The command that validates a training manifest, and with it everything that the manifest names."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, run_command
from edgeflownas.parsers import add_json_flag, command_parser, print_json
from edgeflownas.runs.manifest_checks import manifest_faults


def _parser() -> argparse.ArgumentParser:
    manifest = "outputs/supernet/train_manifest.json"
    parser = command_parser(
        "edgeflownas.nas.check_manifest",
        "Validate a training manifest and every file it names; prints one line per fault.",
        (f"--path {manifest}", f"--path {manifest} --strict --json"),
    )
    parser.add_argument("--path", type=Path, required=True, help="the train_manifest.json")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also refuse a missing or dirty git commit, source that changed under the run, samples left out, steps "
        "skipped, and a run stopped early",
    )
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.check_manifest`."""
    arguments = _parser().parse_args(argv)
    faults = manifest_faults(arguments.path, arguments.strict)
    if arguments.json:
        print_json({"path": str(arguments.path), "faults": faults})
        return EXIT_CHECK_FAILED if faults else EXIT_DONE
    for fault in faults:
        print(f"fault: {fault}")
    if not faults:
        print(f"{arguments.path}: valid, with every file it names")
    return EXIT_CHECK_FAILED if faults else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
