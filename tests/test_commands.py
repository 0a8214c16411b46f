"""Every command as `python -m` starts it: help with examples that parse, exit codes, JSON for programs."""

import argparse
import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.gates.parser import ACTIONS
from edgeflownas.gates.registry import STAGES
from edgeflownas.parsers import COMMANDS, EXIT_CODES

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"keras", "tensorflow", "jax", "pandas", "matplotlib", "scipy", "rich", "jsonschema"}


# What each `--help` is asked of: the commands, and the actions of the gates.
HELPS = [*COMMANDS, *(f"edgeflownas.gates {action}" for action in ACTIONS)]


class Parsed(BaseException):
    """The arguments were understood; nothing needs to run."""


@pytest.fixture
def typed(monkeypatch, capsys):
    """Type `python -m <words>`; returns exit code and standard output."""

    def type_words(words: str) -> tuple[int, str]:
        module, *arguments = shlex.split(words)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        # As a fresh interpreter would: not the module that another test imported.
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__", alter_sys=False)
        return int(end.value.code or 0), capsys.readouterr().out

    return type_words


def test_no_command_is_forgotten():
    package = ROOT / "edgeflownas"
    starts = [path for path in sorted(package.rglob("*.py")) if "__main__" in (path.stem, *_strings(path))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in starts]
    assert list(COMMANDS) == names


def _strings(path: Path) -> set[str]:
    """The words that a file's code, and not its comments, holds in quotes."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("words", HELPS)
def test_help_has_examples_and_exit_codes(typed, words):
    code, text = typed(f"{words} --help")
    assert code == 0
    assert f"examples:\n  python -m {words}" in text
    assert text.rstrip().endswith(EXIT_CODES)
    # Every flag says what it does, in words.
    for flag in re.findall(r"^  (--?\w[^\n]*)$", text, flags=re.MULTILINE):
        assert re.search(r"\S {2,}\S", flag) or f"{flag}\n      " in text, flag


@pytest.mark.parametrize("words", HELPS)
def test_examples_parse(typed, words, monkeypatch):
    _, text = typed(f"{words} --help")
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    examples = re.findall(r"^  python -m (.*)$", text.partition("examples:\n")[2], flags=re.MULTILINE)
    assert examples
    for example in examples:
        assert example.startswith(words)
        with pytest.raises(Parsed):
            typed(example)


@pytest.mark.parametrize("words", HELPS)
def test_an_unknown_flag_is_wrong_use(typed, words):
    assert typed(f"{words} --no_such_flag")[0] == 2


@pytest.mark.parametrize("module", COMMANDS)
def test_help_loads_nothing_heavy(module):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\ntry: runpy.run_module('{module}', run_name='__main__')\n"
        f"except SystemExit: print(sorted({HEAVY} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("edgeflownas.train_supernet --dry_run --json --seed 7", 0, lambda value: value["values"]["seed"] == 7),
        ("edgeflownas.nas.arch_codec --describe 0,1,2,0,0,1,2,1,0", 0, lambda value: value[1]["option"] == 1),
        ("edgeflownas.nas.cost --supernet", 0, lambda value: value["supernet_params"] == 12_122_016),
        ("edgeflownas.nas.fair_sampler --cycles 3 --json", 0, lambda value: value["fairness_gap"] == 0),
        (
            "edgeflownas.gates status --output_dir {tmp} --json",
            0,
            lambda value: [s["state"] for s in value] == ["never run"] * len(STAGES),
        ),
        ("edgeflownas.gates verify --output_dir {tmp} --json", 1, lambda value: len(value["faults"]) > 0),
    ],
)
def test_json_is_one_value_and_nothing_else(typed, tmp_path, words, code, expected):
    end, text = typed(words.format(tmp=tmp_path))
    assert end == code
    assert expected(json.loads(text))
