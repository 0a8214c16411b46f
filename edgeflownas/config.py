"""The configuration: read, merge (command line > file > defaults), validate, hash.

`schemas/config.schema.json` holds every key with its type, range, default and meaning.
"""

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import load_schema, sha256_of
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import parse_yaml, read_yaml

SCHEMA = "config.schema.json"


@dataclass(frozen=True)
class Config:
    """A validated configuration: values by dotted key, and where each came from."""

    values: dict[str, Any]
    origins: dict[str, str]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def result_values(self) -> dict[str, Any]:
        """The values that change what a run computes; a resumed run must agree in all of them."""
        return {key: value for key, value in self.values.items() if _affects_result(key)}

    @property
    def hash(self) -> str:
        """SHA-256 of `result_values`: independent of comments, order, paths and where a run stops."""
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
    defaults = _leaves()
    values = {key: copy.deepcopy(leaf.get("default")) for key, leaf in defaults.items()}
    origins = dict.fromkeys(values, "default")
    faults: list[str] = []
    if path is not None:
        tree = read_yaml(path) or {}
        if not isinstance(tree, dict):
            raise UserError(f"{path}: expected a mapping of sections, got {type(tree).__name__}")
        _merge(flatten(tree), str(path), values, origins, faults)
    _merge(overrides, "command line", values, origins, faults)
    faults += _type_faults(values, origins)
    if not faults:
        faults += _contradictions(values)
    if faults:
        raise UserError("; ".join(faults))
    return Config(values, origins)


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
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every dotted key that differs."""
    keys = sorted(before.keys() | now.keys())
    missing = object()
    return [
        f"{key}: {before.get(key, '(none)')!r} -> {now.get(key, '(none)')!r}"
        for key in keys
        if before.get(key, missing) != now.get(key, missing)
    ]


@cache
def _leaves() -> dict[str, dict[str, Any]]:
    """The schema's leaves by dotted key, in its order."""

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, child in node["properties"].items():
            if "properties" in child:
                yield from walk(child, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", child

    return dict(walk(load_schema(SCHEMA), ""))


def _affects_result(key: str) -> bool:
    return bool(_leaves()[key].get("affects_result", True))


def _merge(
    source: Mapping[str, Any], where: str, values: dict[str, Any], origins: dict[str, str], faults: list[str]
) -> None:
    for key, value in source.items():
        if key in values:
            values[key] = value
            origins[key] = where
        elif any(known.startswith(f"{key}.") for known in values):
            faults.append(f"{where}: {key} is a section and takes keys of its own, got {value!r}")
        else:
            close = difflib.get_close_matches(key, values, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            faults.append(f"{where}: unknown key {key}{hint}")


def _type_faults(values: dict[str, Any], origins: dict[str, str]) -> list[str]:
    import jsonschema

    faults = []
    for key, leaf in _leaves().items():
        for error in jsonschema.Draft202012Validator(leaf).iter_errors(values[key]):
            faults.append(f"{origins[key]}: {key}: {error.message}")
    return faults


def _contradictions(values: dict[str, Any]) -> list[str]:
    """Rules between keys that no schema of a single key can say."""
    faults = []
    if values["data.source"] == "synthetic":
        for axis in ("height", "width"):
            scene, crop = values[f"data.synthetic.{axis}"], values[f"network.{axis}"]
            if scene < crop:
                faults.append(f"data.synthetic.{axis} {scene} is smaller than network.{axis} {crop}")
    if values["train.supernet_mode"] == "expectation_fairness" and values["train.execution"] == "fused":
        faults.append(
            "train.supernet_mode expectation_fairness draws independent paths, which cannot be fused: "
            "set train.execution to sequential"
        )
    return faults
