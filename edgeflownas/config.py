"""The configuration: read, merge (command line > file > defaults), validate, hash.

`schemas/config.schema.json` holds every key with its type, range, default and meaning.
"""

import copy
import difflib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from edgeflownas.artifacts import load_schema, schema_check, sha256_of
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import parse_yaml, read_yaml

SCHEMA = "config.schema.json"
# Where a value came from, besides a config file.
DEFAULT, COMMAND_LINE = "default", "command line"
# This many faults are listed, the others counted.
MAX_FAULTS = 50
View = TypeVar("View")


@dataclass(frozen=True)
class Config:
    """A validated configuration: values by dotted key, and where each came from."""

    values: dict[str, Any]
    origins: dict[str, str]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def view(self, kind: type[View]) -> View:
        """The values that one part takes, typed: a dataclass whose fields are annotated with their keys.

        `lr: Annotated[float, "train.lr"]`; fields that have no key keep their defaults. The schema has checked type
        and range, so nothing is checked here.
        """
        return kind(**{name: self.values[key] for name, key in view_keys(kind).items()})

    def result_values(self) -> dict[str, Any]:
        """The values that change what a run computes; a resumed run must agree in all of them."""
        return {key: value for key, value in self.values.items() if _affects_result(key)}

    @property
    def hash(self) -> str:
        """SHA-256 of `result_values`: independent of comments, order, paths and the step at which a run stops."""
        return sha256_of(self.result_values())

    def resolved(self) -> dict[str, Any]:
        """Values, where each came from, and the hash: what `config.json` holds."""
        return {"values": self.values, "origins": self.origins, "hash": self.hash}

    def nested(self) -> dict[str, Any]:
        """The values as nested mappings, as a config file writes them."""
        tree: dict[str, Any] = {}
        for key, value in self.values.items():
            *parents, leaf = key.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
        return tree


def resolve_config(path: Path | str | None, overrides: Mapping[str, Any]) -> Config:
    """Merge defaults, the config file and the command line's dotted `overrides`, and validate the result.

    Raises:
        UserError: unreadable file, unknown key, wrong type or range; all faults in one message.
    """
    values = {key: copy.deepcopy(leaf.get("default")) for key, leaf in schema_leaves().items()}
    origins = dict.fromkeys(values, DEFAULT)
    faults: list[str] = []
    if path is not None:
        tree = read_yaml(path, faults) or {}
        if not isinstance(tree, dict):
            raise UserError(f"{path}: expected a mapping of sections, got {type(tree).__name__}")
        _merge(_dotted(tree), _origin_of(path), values, origins, faults)
    of_file = dict(values)
    _merge(overrides.items(), COMMAND_LINE, values, origins, faults)
    if sentence := _unclear_root(of_file, values, overrides):
        faults.append(f"{COMMAND_LINE}: {sentence}")
    wrong = {key: fault for key, leaf in schema_leaves().items() if (fault := _fault(values[key], leaf))}
    faults += [f"{origins[key]}: {key}: {fault}" for key, fault in wrong.items()]
    for rule in RULES:
        if not wrong.keys() & set(rule.keys) and (sentence := rule.contradiction(*map(values.get, rule.keys))):
            places = sorted({origins[key] for key in rule.keys} - {DEFAULT}) or [DEFAULT]
            faults.append(f"{' and '.join(places)}: {sentence}")
    if faults:
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        raise UserError("; ".join(faults[:MAX_FAULTS] + more))
    return Config({key: _as_typed(value, schema_leaves()[key]) for key, value in values.items()}, origins)


def _origin_of(path: Path | str) -> str:
    """The file's name; with its folder if the name equals one of the other origins."""
    return os.path.join(".", path) if str(path) in (DEFAULT, COMMAND_LINE) else str(path)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `key=value` of `--set`; the value is YAML.

    Raises:
        UserError: no `=`, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text!r}: expected key=value, for example train.lr=1e-4")
    return key, parse_yaml(value, where=f"--set {key}")


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    return dict(_dotted(tree, prefix))


def _dotted(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every dotted key that differs."""
    keys = sorted(before.keys() | now.keys())
    missing = object()
    return [
        f"{key}: {before.get(key, '(none)')!r} -> {now.get(key, '(none)')!r}"
        for key in keys
        if before.get(key, missing) != now.get(key, missing)
    ]


def view_keys(kind: type) -> dict[str, str]:
    """The key of each field of a settings dataclass that has one; see `Config.view`."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


@cache
def schema_leaves() -> dict[str, dict[str, Any]]:
    """The schema of each key, by dotted key, in its order."""

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, child in node["properties"].items():
            if "properties" in child:
                yield from walk(child, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", child

    return dict(walk(load_schema(SCHEMA), ""))


def _affects_result(key: str) -> bool:
    return bool(schema_leaves()[key].get("affects_result", True))


def _merge(
    pairs: Iterable[tuple[str, Any]], where: str, values: dict[str, Any], origins: dict[str, str], faults: list[str]
) -> None:
    given = set()
    for key, value in pairs:
        if key in given:
            faults.append(f"{where}: {key} is given twice, once with its section and once without")
        elif key in values:
            given.add(key)
            values[key] = value
            origins[key] = where
        elif any(known.startswith(f"{key}.") for known in values):
            if value not in (None, {}):
                faults.append(f"{where}: {key} is a section with its own keys, got {_shown(value)}")
        else:
            hint = _hint(key) if len(faults) < MAX_FAULTS else ""
            faults.append(f"{where}: unknown key {key[:100]}; {hint}")


def _hint(key: str) -> str:
    """The known keys that `key` may have been meant for, or those of its section."""
    section, _, name = key.rpartition(".")
    known = {other: other.rpartition(".") for other in schema_leaves()}
    beside = [leaf for parent, _, leaf in known.values() if parent == section]
    near = [other for other, (_, _, leaf) in known.items() if leaf == name]
    if not near:
        near = [f"{section}.{leaf}" if section else leaf for leaf in difflib.get_close_matches(name, beside, 1, 0.7)]
    if not near:
        near = difflib.get_close_matches(key, known, 1, 0.8)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if section and beside:
        return f"{section} has {', '.join(beside)}"
    return f"there are {', '.join(dict.fromkeys(other.partition('.')[0] for other in known))}"


def _fault(value: Any, leaf: dict[str, Any]) -> str | None:
    """What is allowed and what was found, if a value does not fit its leaf of the schema."""
    # JSON's types leave these open: numbers that are not finite, and text that cannot be a path.
    if isinstance(value, float):
        sound = math.isfinite(value)
    else:
        sound = not (isinstance(value, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value))
    if sound and (schema_check(leaf)(value) or _is_valid(value, leaf)):
        return None
    return f"expected {_allowed(leaf)}, got {_shown(value)}"


def _is_valid(value: Any, leaf: dict[str, Any]) -> bool:
    import jsonschema

    return jsonschema.Draft202012Validator(leaf).is_valid(value)


def _allowed(leaf: Mapping[str, Any]) -> str:
    """A leaf of the schema in words: `a whole number from 1 to 65536, or null`."""
    if "enum" in leaf:
        return f"one of {', '.join(leaf['enum'])}"
    kind, *rest = leaf["type"] if isinstance(leaf["type"], list) else [leaf["type"]]
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": f"text of 1 to {leaf.get('maxLength')} characters, without control characters",
    }[kind]
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    words += "".join(f", {phrase} {leaf[bound]}" for bound, phrase in bounds.items() if bound in leaf)
    return ", or ".join([words, *rest])


def _shown(value: Any) -> str:
    """A value as one would write it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _as_typed(value: Any, leaf: Mapping[str, Any]) -> Any:
    """A valid value in its leaf's own type: 2.0 and 1e3 are whole numbers, and 50 is the same flow as 50.0."""
    if isinstance(value, float) and "integer" in leaf.get("type", ()):
        return int(value)
    if isinstance(value, int) and leaf.get("type") == "number":
        return float(value)
    return value


@dataclass(frozen=True)
class Rule:
    """A rule between several keys, which a JSON Schema of single keys cannot express.

    `contradiction` takes their values and returns what is wrong and what to do, or None.
    """

    keys: tuple[str, ...]
    contradiction: Callable[..., str | None]


def _scene_holds_crop(axis: str) -> Rule:
    def contradiction(source: str, scene: int, crop: int) -> str | None:
        if source != "synthetic" or scene >= crop:
            return None
        return f"data.synthetic.{axis} {scene} is smaller than network.{axis} {crop}; expected at least as much"

    return Rule(("data.source", f"data.synthetic.{axis}", f"network.{axis}"), contradiction)


def _unclear_root(of_file: Mapping[str, Any], values: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Scenes are generated only where the file, or the command line, names both the source and the root."""
    source, root = values["data.source"], values["data.root"]
    changed = [key for key in ("data.source", "data.root") if values[key] != of_file[key]]
    both_given = given.keys() >= {"data.source", "data.root"}
    if source != "synthetic" or root is None or not changed or both_given:
        return None
    return (
        f"{changed[0]} is given alone: does {_shown(root)} hold your own data, or should scenes be generated there? "
        "Give data_root=FOLDER (--data_root FOLDER), or both data.source synthetic and data.root"
    )


def _fusing_needs_cycles(mode: str, execution: str) -> str | None:
    if mode == "strict_fairness" or execution != "fused":
        return None
    return (
        f"train.supernet_mode {mode} draws independent paths, which cannot be fused: set train.execution to sequential"
    )


def _sharing_needs_fusing(distribution: str, execution: str) -> str | None:
    if distribution == "none" or execution == "fused":
        return None
    return f"train.distribution {distribution} splits whole fair cycles: set train.execution to fused"


def _run_apart_from_data(root: str | None, output: str) -> str | None:
    if root is None or not (_within(root, output) or _within(output, root)):
        return None
    return (
        f"data.root {root} and train.output_dir {output} lie in one another; expected them apart, because an earlier "
        "run in the run directory is moved aside whole"
    )


def _gates_apart_from_data(root: str | None, output: str) -> str | None:
    ours = [os.path.join(output, folder) for folder in ("gates", "runs")]
    if root is None or not (_within(output, root) or any(_within(root, folder) for folder in ours)):
        return None
    return f"data.root {root} and workflow.output_dir {output}: expected neither to lie where the other is written"


def _within(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


RULES = (
    _scene_holds_crop("height"),
    _scene_holds_crop("width"),
    Rule(("train.supernet_mode", "train.execution"), _fusing_needs_cycles),
    Rule(("train.distribution", "train.execution"), _sharing_needs_fusing),
    Rule(("data.root", "train.output_dir"), _run_apart_from_data),
    Rule(("data.root", "workflow.output_dir"), _gates_apart_from_data),
)
