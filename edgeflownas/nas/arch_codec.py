"""Arch codes as text: parse, validate, describe.

A code is one digit per choice block, written `0,1,2,0,0,1,2,1,0`, `[0,1,2,0,0,1,2,1,0]` or `012001210`.
"""

import argparse
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, SupportsInt

from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, run_command
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, ArchCode, SearchSpace, load_search_space
from edgeflownas.network.kinds import KINDS
from edgeflownas.parsers import command_parser, print_json


def parse_code(text: str, space: SearchSpace) -> ArchCode:
    """Read an arch code from text.

    Raises:
        UserError: what is wrong (length, or the value and its position and block).
    """
    stripped = text.strip()
    body = stripped[1:-1] if stripped.startswith("[") and stripped.endswith("]") else stripped
    compact = body.isascii() and body.isdigit() and len(body) > 1
    digits = list(body) if compact else [part.strip() for part in body.split(",")]
    values = []
    for position, digit in enumerate(digits):
        if not re.fullmatch(r"-?[0-9]{1,9}", digit):
            raise UserError(f"arch code {text!r}: expected digits like 0,1,2, got {digit!r} at position {position}")
        values.append(int(digit))
    try:
        return validate_code(values, space)
    except UserError as error:
        raise UserError(f"arch code {text!r}: {error}") from error


def validate_code(code: Sequence[int], space: SearchSpace) -> ArchCode:
    """Check a code's length and digits against the space and return it as a tuple.

    Raises:
        UserError: `length=9 required, got 8`, or `value must be in {0,1,2}, got 3 at position 4 (H0Out)`.
    """
    if len(code) != len(space.blocks):
        raise UserError(f"length={len(space.blocks)} required, got {len(code)}")
    for position, (digit, block) in enumerate(zip(code, space.blocks, strict=True)):
        if digit not in range(len(block.options)):
            allowed = ",".join(str(option) for option in range(len(block.options)))
            raise UserError(f"value must be in {{{allowed}}}, got {digit} at position {position} ({block.name})")
    return tuple(int(digit) for digit in code)


def format_code(code: Iterable[SupportsInt]) -> str:
    """`0,1,2,…`, the form in which codes are written everywhere."""
    return ",".join(str(int(digit)) for digit in code)


def code_text(code: Sequence[int]) -> str:
    """`000021222`, as tables and names of files have a code; with commas if a digit needs two places."""
    return ("" if max(code) < 10 else ",").join(str(digit) for digit in code)


def describe_code(code: ArchCode, space: SearchSpace) -> list[dict[str, Any]]:
    """One entry per block: block, kind, option (the digit) and a label in words."""
    return [
        {
            "block": block.name,
            "kind": block.kind,
            "option": digit,
            "label": KINDS[block.kind].label(block.options[digit]),
        }
        for digit, block in zip(code, space.blocks, strict=True)
    ]


def self_test(space: SearchSpace) -> list[str]:
    """Check the codec on its space; the list of faults is empty when it is right.

    Every code of a space of up to 100,000 subnets survives formatting and parsing (a larger space: the first
    100,000); wrong lengths and the first wrong digit of every block are refused with the right message.
    """
    faults = []
    codes = itertools.product(*(range(len(block.options)) for block in space.blocks))
    for code in itertools.islice(codes, 100_000):
        for text in (format_code(code), f"[{format_code(code)}]", "".join(map(str, code))):
            if parse_code(text, space) != code:
                faults.append(f"{text} is not read back as {code}")
    length = len(space.blocks)
    wrong: list[tuple[list[int], str]] = [
        ([0] * (length - 1), f"length={length} required, got {length - 1}"),
        ([0] * (length + 1), f"length={length} required, got {length + 1}"),
    ]
    for position, block in enumerate(space.blocks):
        for digit in (len(block.options), -1):
            code_with_wrong_digit = [0] * length
            code_with_wrong_digit[position] = digit
            wrong.append((code_with_wrong_digit, f"got {digit} at position {position} ({block.name})"))
    for wrong_code, words in wrong:
        try:
            parse_code(format_code(wrong_code), space)
            faults.append(f"{wrong_code} is accepted")
        except UserError as error:
            if words not in str(error):
                faults.append(f"{wrong_code} is refused with {error}, without the words {words!r}")
    return faults


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.arch_codec",
        "Check and describe arch codes.",
        ("--describe 0,1,2,0,0,1,2,1,0", "--self_test"),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--self_test", action="store_true", help="check the codec on every code of the space")
    action.add_argument("--describe", metavar="CODE", help="print a code as JSON, one entry per choice block")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.arch_codec`."""
    arguments = _parser().parse_args(argv)
    space = load_search_space(arguments.space)
    if arguments.describe is not None:
        print_json(describe_code(parse_code(arguments.describe, space), space))
        return EXIT_DONE
    faults = self_test(space)
    for fault in faults:
        print(f"fault: {fault}")
    print(
        f"arch codec of {space.name}: {space.size} subnets of {len(space.blocks)} blocks, "
        f"wrong lengths and digits refused: {'FAILED' if faults else 'ok'}"
    )
    return EXIT_CHECK_FAILED if faults else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
