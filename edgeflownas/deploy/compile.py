"""The command that compiles an int8 file for a chip: for another board than that of the export."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.artifacts import write_bytes
from edgeflownas.deploy.targets import load_target
from edgeflownas.deploy.vela import compile_model, cost_line
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.parsers import add_json_flag, command_parser, print_json

EXAMPLES = (
    "--model outputs/supernet/runs/gate4/deploy/000021222/int8.tflite --target arm_high_end",
    "--model int8.tflite --target my_board.yaml --out for_my_board.tflite --json",
)


def _parser() -> argparse.ArgumentParser:
    description = "Compile an int8 LiteRT file for a chip, and say what it costs there; exit code 1 if it does not fit."
    parser = command_parser("edgeflownas.deploy.compile", description, EXAMPLES)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="FILE", help="the int8 file, as the export writes it")
    add("--target", required=True, metavar="NAME|FILE", help="the chip: name of a file in config/targets/, or a .yaml")
    add("--out", type=require_writable, metavar="FILE", help="the compiled file (beside the other, with _vela)")
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.deploy.compile`."""
    arguments = _parser().parse_args(argv)
    target = load_target(arguments.target)
    model: Path = arguments.model
    try:
        content = model.read_bytes()
    except OSError as error:
        raise UserError(f"{model}: {error.strerror}") from error
    out = arguments.out or require_writable(model.with_name(f"{model.stem}_vela.tflite"))
    compiled, cost = compile_model(content, target, str(model))
    write_bytes(out, compiled)
    summary = {"target": target.name, **cost.summary(target)}
    if arguments.json:
        print_json(summary)
    else:
        print(cost_line(summary))
        print(f"written to {out}")
    return EXIT_DONE if summary["fits"] else EXIT_CHECK_FAILED


if __name__ == "__main__":
    run_command(main)
