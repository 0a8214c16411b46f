"""How every command's `--help` is built: what it does, its flags, examples that can be typed, and its exit codes."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXIT_CODES = "exit codes: 0 done, 1 a check failed, 2 wrong use or input, 3 interrupted, can be resumed"


def command_modules() -> list[str]:
    """Every module of the package that `python -m` starts as a command, sorted by file."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    commands = [file for file in files if file.read_text("utf-8").rstrip().endswith("run_command(main)")]
    names = [".".join(file.relative_to(package.parent).with_suffix("").parts) for file in commands]
    return [name.removesuffix(".__main__") for name in names]


def command_parser(module: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of `python -m <module>`; `examples` are what follows that on the command line."""
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
