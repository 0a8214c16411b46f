"""docs/reliability.md names a test per fault; each of them exists."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "reliability.md"
REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def functions_of(file: str) -> set[str]:
    """The functions that a test file defines."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_names_tests_that_exist():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "| `" in line and ".py::" in line]
    assert len(rows) > 40
    for row in rows:
        for file, name in REFERENCE.findall(row):
            assert name in functions_of(file), f"{file}::{name}"


def test_every_row_of_the_fault_tables_names_a_test():
    tables = re.findall(r"^\| fault \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(tables) == 6
    for row in "".join(tables).splitlines():
        assert REFERENCE.search(row.rsplit("|", 2)[1]), row
