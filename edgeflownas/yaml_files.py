"""Reading YAML the way people write it, and nothing more of YAML than a config needs.

`1e-4` is a number, `010` is ten, `yes` and `2020-01-01` are text (YAML 1.2). A key given twice is a mistake. Refused
are tags, which could construct objects, aliases for more than a single value, which could expand to gigabytes, deep
nesting and long files.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from edgeflownas.errors import UserError

MAX_BYTES = 1 << 16
MAX_DEPTH = 20
# The core schema of YAML 1.2: how each kind of scalar looks, and what it becomes. An integer of more than 20 digits is
# no count of anything: it is read as a float.
_SCALARS: dict[str, tuple[str, Any]] = {
    "null": ("~|null|Null|NULL|", lambda text: None),
    "bool": ("true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": ("[-+]?[0-9]{1,20}", int),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", float),
}
_MEANING = {f"tag:yaml.org,2002:{name}": meaning for name, (_, meaning) in _SCALARS.items()}


class _Reader(yaml.SafeLoader):
    """Reads null, booleans, numbers, text, lists and mappings, and continues after a fault if it can."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[tuple[yaml.Mark, str]] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        problem = f"nested deeper than {MAX_DEPTH} levels" if self._depth == MAX_DEPTH else None
        if isinstance(event, yaml.AliasEvent):
            if isinstance(self.anchors.get(event.anchor), yaml.CollectionNode):
                problem = f"the alias *{event.anchor} refers to a list or a mapping; write it out"
        elif event.tag not in (None, "!"):
            self.faults.append((event.start_mark, f"the tag {event.tag!r} is not allowed; write a plain value"))
            event.tag = None
            if isinstance(event, yaml.ScalarEvent):
                event.implicit = (not event.style, True)
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def value(self, node: yaml.Node) -> Any:
        """The value of a composed node."""
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return _MEANING.get(node.tag, str)(node.value)
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node)
            if not isinstance(key, str):
                self.faults.append((key_node.start_mark, f"expected a name as key, got {key!r}"))
            elif key in mapping:
                self.faults.append((key_node.start_mark, f"key {key!r} is given twice"))
            else:
                mapping[key] = self.value(value_node)
        return mapping


for _name, (_pattern, _) in _SCALARS.items():
    _Reader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None)


def parse_yaml(text: str, where: str, faults: list[str] | None = None) -> Any:
    """Parse one YAML document; `faults` takes those beyond which one can read on (a key given twice, a tag).

    Raises:
        UserError: naming `where` and the line and column of each fault.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{where}: {_TOO_LONG}")
    try:
        reader = _Reader(text)
        root = reader.get_single_node()
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(_told(where, getattr(error, "problem_mark", None), problem)) from error
    value = None if root is None else reader.value(root)
    found = [_told(where, *fault) for fault in sorted(reader.faults, key=lambda fault: fault[0].index)]
    if found and faults is None:
        raise UserError("; ".join(found))
    if faults is not None:
        faults += found
    return value


def yaml_path(name_or_path: str, folder: Path, kind: str) -> Path:
    """The file that is asked for by name (NAME.yaml in `folder`) or by path (ending in .yaml).

    Args:
        name_or_path: either.
        folder: where those with a name are.
        kind: what it is a file of, in the singular, for the message.

    Raises:
        UserError: there is no such file; names those that have a name.
    """
    path = Path(name_or_path) if is_yaml_path(name_or_path) else folder / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UserError(f"{kind} {name_or_path!r}: no file {path}; known {kind}s: {known}")
    return path


def is_yaml_path(name_or_path: str) -> bool:
    """Whether a file is asked for by its path, and not by name."""
    return name_or_path.endswith((".yaml", ".yml"))


def read_yaml(path: Path | str, faults: list[str] | None = None) -> Any:
    """Read and parse a YAML file; `faults` as for `parse_yaml`.

    Raises:
        UserError: the file cannot be read, is too long, or is not valid YAML.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: {_TOO_LONG}")
        text = content.decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return parse_yaml(text, str(path), faults)


_TOO_LONG = f"longer than {MAX_BYTES >> 10} KiB, which no config is"


def _told(where: str, mark: yaml.Mark | None, problem: str) -> str:
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{where}: not valid YAML{place}: {problem}"
