"""The words: what they tell to type can be typed, what they quote is said, and both languages say the same."""

import argparse
import ast
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import edgeflownas
from edgeflownas.artifacts import SCHEMA_FOLDER, load_schema
from edgeflownas.config import resolve_config
from edgeflownas.config_schema import SCHEMA, STUDIES_SCHEMA, schema_leaves
from edgeflownas.gates.registry import GATES
from tests.test_unwritable import make_foreign, without_privileges

ROOT = Path(__file__).resolve().parents[1]
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [README, README_ZH, *sorted((ROOT / "docs").glob("*.md")), ROOT / "profiles" / "slurm" / "README.md"]


def code_blocks(page: Path) -> list[str]:
    """The fenced blocks of a page, with their language."""
    return re.findall(r"^```(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def typed_commands(page: Path) -> list[str]:
    """Every `python -m edgeflownas…` that a page tells to type."""
    blocks = [block.removeprefix("bash\n") for block in code_blocks(page) if block.startswith("bash\n")]
    commands = []
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        command = line.partition("  #")[0].partition(" && ")[0]
        if command.startswith("python -m edgeflownas"):
            commands.append(command.removeprefix("python -m "))
    return commands


TYPED = sorted({command for page in PAGES for command in typed_commands(page)})


class Parsed(BaseException):
    """The command understood its arguments; it need not run."""


def test_commands_are_found():
    assert len(TYPED) > 15


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", TYPED)
def test_every_command_of_the_pages_parses_and_its_config_is_valid(command, monkeypatch):
    module, *words = shlex.split(command)
    parse, seen = argparse.ArgumentParser.parse_args, []

    def parse_and_stop(self, args=None, namespace=None):
        seen.append(parse(self, args, namespace))
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(Parsed):
        runpy.run_module(module, run_name="__main__")
    if config := getattr(seen[0], "config", None):
        resolve_config(ROOT / config, {})


def test_what_the_pages_tell_snakemake_to_make_are_its_targets():
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    targets = {rule for file in files for rule in re.findall(r"^ *rule (\w+):", file.read_text(), flags=re.MULTILINE)}
    targets |= {gate.name for gate in GATES}
    said = set()
    for page in PAGES:
        said |= set(re.findall(r"`?snakemake ([a-z]+\d?)\b", page.read_text(encoding="utf-8")))
    assert said <= targets, said - targets
    assert {"gate4", "supernet", "data"} <= said


def said_by_the_package() -> str:
    """Every text of the source, one per line: the pieces between the braces of an f-string."""
    texts = []
    for path in [*(ROOT / "edgeflownas").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_every_message_of_the_troubleshooting_page_is_one_that_is_said():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").partition(SNAKEMAKES)[0]
    words = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(words) > 20
    source = said_by_the_package()
    assert [word for word in words if word not in source] == []


def test_every_path_that_the_architecture_page_names_exists():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.]+/)+[\w.]*|[\w.]+\.(?:py|toml|yml)|Snakefile)`", page)
    # Relative to the root, or a module or package directly in the package; records of a run are not in the checkout.
    named = [path for path in paths if not path.startswith("gates/gateN")]
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists() and not (ROOT / "edgeflownas" / path).exists()] == []


# What Snakemake says, and what to type for it in a folder that is no clone.
SNAKEMAKES = "## Snakemake's own words"
SNAKEMAKE_SAYS = {
    "invalid choice: 'slurm'": ("--profile", str(ROOT / "profiles/slurm")),
    "no profile.yaml (or config.yaml) found": ("--profile", "local"),
    "must start with a valid identifier": ("--cores", "1", "--config", "data.root=/x"),
    "Permission denied: '": ("--cores", "1"),
}


@pytest.mark.parametrize("words", SNAKEMAKE_SAYS)
def test_what_the_troubleshooting_page_quotes_of_snakemake_is_said(words, tmp_path):
    if words.startswith("Permission"):
        make_foreign(tmp_path)
    # Without the Slurm plugin, which some environments have on their PYTHONPATH.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if words.startswith("invalid choice") and importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip("Snakemake's Slurm plugin is installed here")
    command = [sys.executable, "-m", "snakemake", "-n", "gate1", *SNAKEMAKE_SAYS[words]]
    command += ["--snakefile", str(ROOT / "Snakefile")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_privileges,
    )
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


def test_every_row_of_snakemakes_words_is_tried():
    rows = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").partition(SNAKEMAKES)[2]
    assert re.findall(r"^\| `([^`]+)` \|", rows, flags=re.MULTILINE) == list(SNAKEMAKE_SAYS)


def outline(page: Path) -> list[int]:
    """The levels of a page's headings, code left out."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]


def without_comments(block: str) -> str:
    return re.sub(r" +# .*", "", block)


def test_the_chinese_readme_has_the_same_outline_commands_names_and_links():
    assert outline(README_ZH) == outline(README)
    assert [*map(without_comments, code_blocks(README_ZH))] == [*map(without_comments, code_blocks(README))]
    english, chinese = (
        re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for page in (README, README_ZH)
    )
    # Names and commands in the text, whatever the line breaks within them.
    names = [{re.sub(r"\s+", " ", name) for name in re.findall(r"`([^`]+)`", text)} for text in (english, chinese)]
    assert names[1] == names[0]
    links = [sorted(re.findall(r"\]\(([^)]+)\)", text)) for text in (english, chinese)]
    assert set(links[1]) - {"README.md"} == set(links[0]) - {"README.zh-CN.md"}
    markers = [re.findall(r"<!--.*?-->", text) for text in (english, chinese)]
    assert markers[1] == markers[0]


def test_the_citation_names_this_version_and_the_sources_of_the_readme():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == edgeflownas.__version__
    cited = [identifier["value"] for work in citation["references"] for identifier in work["identifiers"]]
    assert cited == re.findall(r"\[(arXiv:[\d.]+)\]", README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as one does; any warning ends the build."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    # The theme advertises its successor at each start; that is no warning of ours.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_the_site_needs_no_other_host(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 12
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]+(?:stylesheet|preconnect|preload|icon)[^>]+href="(?:https?:)?//', text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_the_reference_has_every_key_file_criterion_and_command(site):
    from tests.test_commands import COMMANDS

    def words_of(name: str) -> str:
        text = re.sub(r"<[^>]+>", "", (site / "reference" / name / "index.html").read_text(encoding="utf-8"))
        return text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&").replace("&#39;", "'")

    configuration, artifacts, criteria, commands = map(words_of, ("configuration", "artifacts", "criteria", "commands"))
    keys = [*resolve_config(None, {}).values, *schema_leaves(STUDIES_SCHEMA)]
    assert [key for key in keys if key not in configuration] == []
    schemas = [path.name for path in SCHEMA_FOLDER.glob("*.json") if path.name not in (SCHEMA, STUDIES_SCHEMA)]
    assert [name for name in schemas if f"schemas/{name}" not in artifacts] == []
    assert "mean_epe_12" in artifacts
    assert load_schema("progress.schema.json")["properties"]["loss"]["description"] in artifacts
    sentences = [criterion.sentence for gate in GATES for criterion in gate.criteria]
    assert [sentence for sentence in sentences if sentence not in criteria] == []
    assert [module for module in COMMANDS if f"usage: python -m {module} " not in commands] == []
