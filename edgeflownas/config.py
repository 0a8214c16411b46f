"""The configuration: read, merge (command line > file > defaults), validate, hash.

`schemas/config.schema.json` holds every key with its type, range, default and meaning.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from edgeflownas.artifacts import sha256_of
from edgeflownas.config_rules import RULES, unclear_root
from edgeflownas.config_schema import COMMAND_LINE, DEFAULT, Draft, dotted, schema_leaves
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import parse_yaml, read_yaml

View = TypeVar("View")
# The key that holds other keys of the configuration, as the picks' own training has them.
VARIANT = "retrain.set"


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
        return _view(kind, self.values)

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
    draft = Draft()
    if path is not None:
        tree = read_yaml(path, draft.faults) or {}
        if not isinstance(tree, dict):
            raise UserError(f"{path}: expected a mapping of sections, got {type(tree).__name__}")
        draft.merge(dotted(tree), _origin_of(path))
    of_file = dict(draft.values)
    draft.merge(overrides.items(), COMMAND_LINE)
    if sentence := unclear_root(of_file, draft.values, overrides):
        draft.faults.append(f"{COMMAND_LINE}: {sentence}")
    config = _checked(draft)
    # What the picks are to be trained with is told now, not after the supernet was.
    changed_config(config, config[VARIANT], VARIANT)
    return config


def changed_config(config: Config, changes: Mapping[str, Any], where: str) -> Config:
    """The configuration with some keys changed, validated as a whole; `where` is said to be the changes' origin.

    Raises:
        UserError: unknown key, wrong type or range, or a contradiction; all faults in one message.
    """
    draft = Draft()
    draft.values, draft.origins = dict(config.values), dict(config.origins)
    draft.merge(changes.items(), where)
    return _checked(draft)


def _checked(draft: Draft) -> Config:
    wrong = draft.check()
    for rule in RULES:
        if wrong.isdisjoint(rule.keys) and (sentence := rule.contradiction(*map(draft.values.get, rule.keys))):
            places = sorted({draft.origins[key] for key in rule.keys} - {DEFAULT}) or [DEFAULT]
            draft.faults.append(f"{' and '.join(places)}: {sentence}")
    return Config(draft.finished(), draft.origins)


def resolve_settings(kind: type[View], schema: str, overrides: Mapping[str, Any]) -> View:
    """Settings with a schema of their own: its defaults and the command line's dotted `overrides`, validated.

    Raises:
        UserError: unknown key, wrong type or range; all faults in one message.
    """
    draft = Draft(schema)
    draft.merge(overrides.items(), COMMAND_LINE)
    draft.check()
    return _view(kind, draft.finished())


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


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every dotted key that differs."""
    keys = sorted(before.keys() | now.keys())
    missing = object()
    return [
        f"{key}: {before.get(key, '(none)')!r} -> {now.get(key, '(none)')!r}"
        for key in keys
        if before.get(key, missing) != now.get(key, missing)
    ]


def _view(kind: type[View], values: Mapping[str, Any]) -> View:
    return kind(**{name: values[key] for name, key in view_keys(kind).items()})


def view_keys(kind: type) -> dict[str, str]:
    """The key of each field of a settings dataclass that has one; see `Config.view`."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _affects_result(key: str) -> bool:
    return bool(schema_leaves()[key].get("affects_result", True))
