"""Reading YAML the way people write it, and nothing more of YAML than a config needs.

`1e-4` is a number, `010` is ten, `yes` and `2020-01-01` are text (YAML 1.2). A key given twice is a mistake. Refused
are tags, which could construct objects, aliases for more than a single value, which could stand for gigabytes, deep
nesting and long files.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from edgeflownas.errors import UserError

MAX_BYTES = 1 << 16
MAX_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """A loader of null, booleans, numbers, text, lists and mappings, that reads on after a fault where it can."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[tuple[yaml.Mark, str]] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if isinstance(self.anchors.get(event.anchor), yaml.CollectionNode):
                _stop(event, f"the alias *{event.anchor} stands for a list or a mapping; write it out")
        elif event.tag not in (None, "!"):
            self.faults.append((event.start_mark, f"the tag {event.tag!r} is not allowed; write a plain value"))
            event.tag = None
            if isinstance(event, yaml.ScalarEvent):
                event.implicit = (not event.style, True)
        if self._depth == MAX_DEPTH:
            _stop(event, f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))

    def construct_list(self, node: yaml.SequenceNode) -> list[Any]:
        return [self.construct_object(item, deep=True) for item in node.value]

    def construct_unique_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self.faults.append((key_node.start_mark, f"expected a name as key, got {key!r}"))
            elif key in mapping:
                self.faults.append((key_node.start_mark, f"key {key!r} is given twice"))
            else:
                mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _stop(event: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


# The core schema of YAML 1.2: how each kind of scalar looks, with what it may begin, and what it becomes. An integer of
# more than 20 digits is no count of anything: it is read as a float.
_SCALARS: dict[str, tuple[str, Iterable[str], Any]] = {
    "null": ("~|null|Null|NULL|", ("~", "n", "N", ""), _Loader.construct_yaml_null),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF", _Loader.construct_yaml_bool),
    "int": ("[-+]?[0-9]{1,20}", "-+0123456789", _Loader.construct_whole_number),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
        _Loader.construct_yaml_float,
    ),
}
for _name, (_pattern, _first, _constructor) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _constructor)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.construct_list)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_unique_mapping)


def parse_yaml(text: str, where: str, faults: list[str] | None = None) -> Any:
    """Parse one YAML document.

    Args:
        text: the document.
        where: what to call it in messages.
        faults: takes the faults beyond which one can read on (a key given twice, a tag), so that they can be told
            with others; without it they are raised.

    Raises:
        UserError: naming `where` and the line and column of each fault.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{where}: {_TOO_LONG}")
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{where}: not valid YAML{_place(getattr(error, 'problem_mark', None))}: {problem}") from error
    in_order = sorted(loader.faults, key=lambda fault: fault[0].index)
    found = [f"{where}: not valid YAML{_place(mark)}: {problem}" for mark, problem in in_order]
    if found and faults is None:
        raise UserError("; ".join(found))
    if faults is not None:
        faults += found
    return value


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


def _place(mark: yaml.Mark | None) -> str:
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
