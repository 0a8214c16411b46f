"""Values by dotted key, filled in and checked by a schema of every key with type, range, default and meaning."""

import copy
import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from edgeflownas.artifacts import load_schema, schema_check
from edgeflownas.errors import UserError

SCHEMA = "config.schema.json"
# What `snakemake learning`, `fidelity` and `ablation` take besides the configuration.
STUDIES_SCHEMA = "studies.schema.json"
# Where a value came from, besides a config file.
DEFAULT, COMMAND_LINE = "default", "command line"
# This many faults are listed, the others counted.
MAX_FAULTS = 50


@cache
def schema_leaves(schema: str = SCHEMA) -> dict[str, dict[str, Any]]:
    """The schema of each key, by dotted key, in its order."""

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, child in node["properties"].items():
            if "properties" in child:
                yield from walk(child, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", child

    return dict(walk(load_schema(schema), ""))


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    return dict(dotted(tree, prefix))


def dotted(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same as pairs, in which a key may come twice."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Draft:
    """Values by dotted key, first the defaults of a schema, with where each came from and the faults found so far.

    A key whose value is a mapping (type object) takes dotted keys of its own: `retrain.set.train.lr` is `train.lr` in
    `retrain.set`. A later place adds to it.
    """

    def __init__(self, schema: str = SCHEMA) -> None:
        self.leaves = schema_leaves(schema)
        self.mappings = tuple(key for key, leaf in self.leaves.items() if leaf.get("type") == "object")
        self.values = {key: copy.deepcopy(leaf.get("default")) for key, leaf in self.leaves.items()}
        self.origins = dict.fromkeys(self.values, DEFAULT)
        self.faults: list[str] = []

    def merge(self, pairs: Iterable[tuple[str, Any]], where: str) -> None:
        """Take values from one place; unknown keys and keys given twice are faults."""
        given = set()
        for key, value in pairs:
            if key in given:
                self.faults.append(f"{where}: {key} is given twice, once with its section and once without")
            elif mapping := next((name for name in self.mappings if key == name or key.startswith(f"{name}.")), None):
                given.add(key)
                held, within = self.values[mapping], key.removeprefix(mapping).removeprefix(".")
                if within or isinstance(value, Mapping):
                    self.values[mapping] = {**(held if isinstance(held, Mapping) else {}), **_entries(within, value)}
                else:
                    self.values[mapping] = value
                self.origins[mapping] = where
            elif key in self.values:
                given.add(key)
                self.values[key] = value
                self.origins[key] = where
            elif any(known.startswith(f"{key}.") for known in self.values):
                if value not in (None, {}):
                    self.faults.append(f"{where}: {key} is a section with its own keys, got {shown(value)}")
            else:
                hint = _hint(key, self.leaves) if len(self.faults) < MAX_FAULTS else ""
                self.faults.append(f"{where}: unknown key {key[:100]}; {hint}")

    def check(self) -> set[str]:
        """Note what does not fit the schema; the keys whose values do not."""
        wrong = {key: fault for key, leaf in self.leaves.items() if (fault := _fault_of(self.values[key], leaf))}
        self.faults += [f"{self.origins[key]}: {key}: {fault}" for key, fault in wrong.items()]
        return set(wrong)

    def finished(self) -> dict[str, Any]:
        """The values, each in its own type.

        Raises:
            UserError: all faults in one message.
        """
        if self.faults:
            more = [f"and {len(self.faults) - MAX_FAULTS} more"] if len(self.faults) > MAX_FAULTS else []
            raise UserError("; ".join(self.faults[:MAX_FAULTS] + more))
        return {key: _as_typed(value, self.leaves[key]) for key, value in self.values.items()}


def _entries(key: str, value: Any) -> dict[str, Any]:
    """A value of a mapping as dotted keys, and the mapping itself where `key` is empty."""
    if isinstance(value, Mapping):
        return flatten(value, f"{key}." if key else "")
    return {key: value}


def _hint(key: str, own: Iterable[str]) -> str:
    """The known keys that `key` may have been meant for, or those of `own` in its section."""
    section, _, name = key.rpartition(".")
    if key in schema_leaves(STUDIES_SCHEMA):
        return f"it is a study's, and given to Snakemake: --config '{section}={{{name}: …}}'"
    own = list(own)
    known = {other: other.rpartition(".") for other in [*own, *schema_leaves(STUDIES_SCHEMA)]}
    beside = [leaf for parent, _, leaf in known.values() if parent == section]
    near = [f"{section}.{leaf}" if section else leaf for leaf in difflib.get_close_matches(name, beside, 1, 0.7)]
    near += [other for other, (_, _, leaf) in known.items() if leaf == name]
    if not near:
        near = difflib.get_close_matches(key, known, 1, 0.8)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if section and beside:
        return f"{section} has {', '.join(beside)}"
    return f"there are {', '.join(dict.fromkeys(other.partition('.')[0] for other in own))}"


def _fault_of(value: Any, leaf: dict[str, Any]) -> str | None:
    """What is allowed and what was found, if a value does not fit its leaf of the schema."""
    # JSON's types leave these open: numbers that are not finite, and text that cannot be a path.
    if isinstance(value, float):
        sound = math.isfinite(value)
    else:
        sound = not (isinstance(value, str) and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value))
    if sound and (schema_check(leaf)(value) or _is_valid(value, leaf)):
        return None
    return f"expected {_allowed(leaf)}, got {shown(value)}"


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
        "object": "a mapping of keys to values",
        "string": f"text of 1 to {leaf.get('maxLength')} characters, without control characters",
    }[kind]
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    words += "".join(f", {phrase} {leaf[bound]}" for bound, phrase in bounds.items() if bound in leaf)
    return ", or ".join([words, *rest])


def shown(value: Any) -> str:
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
