"""A MkDocs hook: the reference pages (criteria, configuration, artifacts, commands), generated at each build."""

import io
import json
import os
import runpy
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edgeflownas.artifacts import SCHEMA_FOLDER, load_schema
from edgeflownas.gates.lifecycle.evaluation import COMMON
from edgeflownas.gates.registry import GATES
from edgeflownas.parsers import COMMANDS

CONFIG_SCHEMA = "config.schema.json"
STUDIES_SCHEMA = "studies.schema.json"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "criteria": criteria_page(),
        "configuration": configuration_page(),
        "artifacts": artifacts_page(),
        "commands": commands_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def criteria_page() -> str:
    """What each gate checks, in the words that its report prints."""
    lines = [
        "# Criteria",
        "",
        "A gate passes when all of its criteria hold; otherwise it publishes nothing. Criteria look at what the",
        "gate's commands wrote: logs, traces, checkpoints, counts. A criterion fails if its evidence is missing.",
        "",
        "## Every gate",
        "",
        *(f"- {criterion.sentence}" for criterion in COMMON),
    ]
    for gate in GATES:
        lines += ["", f"## Gate {gate.number}: {gate.title}", ""]
        lines += ["| criterion | evaluated on | if it fails |", "|---|---|---|"]
        for criterion in gate.criteria:
            evaluated_on = ", ".join(f"`{name}`" for name in criterion.commands)
            lines.append(f"| {_cell(criterion.sentence)} | {evaluated_on} | {_cell(criterion.remedy)} |")
        lines += ["", f"Publishes {', '.join(f'`{path}`' for path in gate.publishes)}."]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Every key with its default, range and meaning."""
    lines = [
        "# Configuration",
        "",
        "The command line overrides the file, the file overrides the defaults: `--set train.lr=2e-4` for commands,",
        "`--config 'train={lr: 2e-4}'` for Snakemake. An unknown key, a wrong type or a value out of range is refused",
        "with the key, before anything is computed. `--dry_run` prints every value and where it came from.",
        "",
        "Keys marked † may change between a run and its resumption; all others change the result, and the config hash.",
    ]
    nodes = load_schema(CONFIG_SCHEMA)["properties"]
    top = {name: node for name, node in nodes.items() if "properties" not in node}
    lines += _keys("Top level", top)
    for name, node in nodes.items():
        if "properties" in node:
            lines += _keys(f"`{name}`", {name: node})
    studies = load_schema(STUDIES_SCHEMA)
    lines += _keys("Studies", studies["properties"], studies["description"])
    return "\n".join(lines) + "\n"


def _keys(heading: str, nodes: dict[str, Any], text: str = "") -> list[str]:
    """A section of the page: a table of keys."""
    lines = ["", f"## {heading}", *(["", text] if text else [])]
    lines += ["", "| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, leaf in _leaves(nodes, ""):
        mark = "" if leaf.get("affects_result", True) else " †"
        default = _code(_json(leaf["default"])) if "default" in leaf else ""
        lines.append(f"| `{key}`{mark} | {default} | {_cell(allowed(leaf))} | {_cell(leaf['description'])} |")
    return lines


def artifacts_page() -> str:
    """Every file that is written, with its fields."""
    lines = [
        "# Artifacts",
        "",
        "The files that runs and gates write, field by field. Each is validated against its JSON Schema (2020-12) in",
        "`schemas/`, and this page is generated from those schemas.",
    ]
    for path in sorted(SCHEMA_FOLDER.glob("*.json")):
        if path.name in (CONFIG_SCHEMA, STUDIES_SCHEMA):
            continue
        schema = load_schema(path.name)
        name, _, what = schema["title"].partition(": ")
        what = (what or schema["description"]).rstrip(".")
        lines += ["", f"## {name}", "", f"{what[0].upper()}{what[1:]} (`schemas/{path.name}`)."]
        lines += _fields(schema.get("items", schema), schema.get("$defs", {}))
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """The help of every command."""
    lines = ["# Commands", "", "The `--help` text of each command."]
    for module in COMMANDS:
        lines += ["", f"## {module.removeprefix('edgeflownas.')}", "", "```text", help_of(module), "```"]
    return "\n".join(lines) + "\n"


def help_of(module: str) -> str:
    """What `python -m <module> --help` prints, 100 columns wide."""
    argv, columns = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = [module, "--help"], "100"
    try:
        with redirect_stdout(io.StringIO()) as text, suppress(SystemExit), warnings.catch_warnings():
            # The package imports some of these modules, too; their help is the same the second time.
            warnings.simplefilter("ignore", RuntimeWarning)
            runpy.run_module(module, run_name="__main__")
    finally:
        sys.argv = argv
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return text.getvalue().rstrip()


def allowed(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> str:
    """Type, choices and range of a value, in words; `definitions` are what a `$ref` of it may name."""
    if "$ref" in schema:
        return allowed((definitions or {})[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema:
        return " or ".join(_code(_json(value)) for value in schema["enum"])
    if "const" in schema:
        return _code(_json(schema["const"]))
    if "anyOf" in schema:
        return " or ".join(allowed(choice, definitions) for choice in schema["anyOf"])
    kinds = schema.get("type", "anything")
    words = " or ".join(sorted(kinds, key="array".__eq__)) if isinstance(kinds, list) else kinds
    if isinstance(schema.get("items"), dict):
        words += f" of {allowed(schema['items'], definitions)}"
    if properties := schema.get("properties"):
        words += f" with {', '.join(map(_code, properties))}"
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if low is not None and high is not None:
        return f"{words}, {low} to {'2^64 - 1' if high == 2**64 - 1 else high}"
    if above is not None and high is not None:
        return f"{words}, above {above} up to {high}"
    for limit, sign in ((low, "≥"), (above, ">"), (high, "≤")):
        words += "" if limit is None else f" {sign} {limit}"
    return words


def _leaves(nodes: dict[str, Any], prefix: str, affects_result: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in nodes.items():
        inherited = node.get("affects_result", affects_result)
        if "properties" in node:
            yield from _leaves(node["properties"], f"{prefix}{name}.", inherited)
        else:
            yield f"{prefix}{name}", {"affects_result": inherited, **node}


def _fields(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    properties = {**schema.get("properties", {}), **schema.get("patternProperties", {})}
    if not properties:
        return []
    required = schema.get("required", [])
    lines = ["", "| field | type | meaning |", "|---|---|---|"]
    for name, node in properties.items():
        optional = "" if name in required else " (optional)"
        kind = _cell(allowed(node, definitions))
        lines.append(f"| `{name}`{optional} | {kind} | {_cell(node.get('description', ''))} |")
    return lines


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
