"""Reading YAML the way people write it: `1e-4` is a number, a key given twice is a mistake."""

import re
from pathlib import Path
from typing import Any

import yaml

from edgeflownas.errors import UserError


class _Loader(yaml.SafeLoader):
    pass


# YAML 1.1 wants a dot in every float, so PyYAML reads 1e-4 as a string; YAML 1.2 and people do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document.

    Raises:
        UserError: naming `where` and the line and column of the fault.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{where}: not valid YAML{place}: {getattr(error, 'problem', None) or error}") from error


def read_yaml(path: Path | str) -> Any:
    """Read and parse a YAML file.

    Raises:
        UserError: the file cannot be read or is not valid YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from error
    return parse_yaml(text, str(path))
