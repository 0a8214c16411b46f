"""The check by jsonschema-rs accepts nothing that jsonschema refuses, and jsonschema words every fault."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas import artifacts
from edgeflownas.artifacts import SCHEMA_FOLDER, load_schema, read_json, schema_check, validate
from edgeflownas.errors import UserError
from tests.fuzzing import examples

NAMES = st.sampled_from(["a", "b", "ab"])
LARGE = [2**53, 2.0**53, 2**53 + 1, 2**63, 2.0**63, 2**64 - 1, 2**64, 2.0**64, 2**64 + 1, 2**128, 2.0**128, 1e300]
FINITE = st.one_of(st.integers(-2, 3), st.floats(-2, 3), st.sampled_from([1.0, -0.0, *LARGE]))
NUMBERS = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -(10**400)]))
TEXTS = st.text("0a\n٣😀\ud800", max_size=3)
ENCODABLE = TEXTS.filter(lambda text: "\ud800" not in text)


def values(numbers: st.SearchStrategy, texts: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, texts),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner)),
        max_leaves=6,
    )


VALUES = values(NUMBERS, TEXTS)
SCHEMA_VALUES = values(FINITE, ENCODABLE)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
NUMBER_TYPES = st.sampled_from(["integer", "number", ["integer", "null"]])
PATTERNS = st.sampled_from(["^0", "a$", "^[0-9]+$", r"^\d+$", "^[0-9]+(,[0-9]+)*$"])
SCHEMAS = st.recursive(
    st.one_of(
        st.booleans(),
        st.fixed_dictionaries({"$ref": st.just("#/$defs/small")}),
        st.fixed_dictionaries({"minLength": st.integers(0, 2), "maxLength": st.integers(1, 3)}),
        st.fixed_dictionaries({"pattern": PATTERNS, "format": st.sampled_from(["date-time", "email", "uri", "regex"])}),
        # A bound always stands beside its type: without one, infinity is out of bounds for only one of the two.
        st.fixed_dictionaries({"type": NUMBER_TYPES, "minimum": FINITE, "exclusiveMinimum": FINITE}),
        st.fixed_dictionaries({"type": NUMBER_TYPES, "maximum": FINITE}),
        st.fixed_dictionaries({"enum": st.lists(SCHEMA_VALUES, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"const": SCHEMA_VALUES}),
        st.fixed_dictionaries({"type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=2, unique=True))}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner, "minItems": st.integers(0, 1), "maxItems": st.integers(1, 2)}),
        st.fixed_dictionaries({"uniqueItems": st.just(True), "type": st.just("array")}),
        st.fixed_dictionaries(
            {
                "oneOf": st.tuples(
                    st.just({"type": "null"}), st.fixed_dictionaries({"type": TYPES, "items": inner})
                ).map(list)
            }
        ),
        st.fixed_dictionaries({"patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner)}),
        st.fixed_dictionaries(
            {"properties": st.dictionaries(NAMES, inner), "required": st.lists(NAMES, unique=True)},
            optional={"additionalProperties": inner, "type": TYPES, "minProperties": st.integers(0, 2)},
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=examples(1000), deadline=None)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), VALUES)
def test_what_it_accepts_fits(schema: dict, value: object) -> None:
    schema = schema | {"$defs": {"small": {"type": "number", "maximum": 1}}}
    if schema_check(schema)(value):
        jsonschema.Draft202012Validator(schema).validate(value)


PLAIN = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
LINE = {"type": "string", "pattern": "^[0-9]+$"}


@pytest.mark.parametrize(
    ("schema", "value", "fits", "quickly"),
    [
        (PLAIN, 1.0, True, True),
        (PLAIN, 1.5, False, False),
        (PLAIN, True, False, False),
        (PLAIN, math.nan, False, False),
        (PLAIN, 2**64 - 1, True, True),
        (PLAIN, 2.0**64, False, False),
        (PLAIN, 10**400, False, False),
        ({"type": "integer"}, 10**400, True, True),
        # No artifact holds these: JSON has no infinity. What Python's `re` makes of a pattern stays what counts.
        ({"type": "number"}, math.inf, True, False),
        (LINE, "1\n", True, False),
        (LINE, "1x", False, False),
    ],
)
def test_numbers_and_texts_at_the_edge(schema, value, fits, quickly, tmp_path, monkeypatch):
    assert schema_check(schema)(value) is quickly
    assert jsonschema.Draft202012Validator(schema).is_valid(value) is fits
    monkeypatch.setattr(artifacts, "SCHEMA_FOLDER", tmp_path)
    monkeypatch.setattr(artifacts, "_schema_check", lambda name: schema_check(load_schema(name)))
    (tmp_path / "edge.json").write_text(json.dumps(schema))
    if fits:
        validate(value, "edge.json", where="here")
    else:
        with pytest.raises(UserError, match=r"^here: does not fit schemas/edge.json: \$: "):
            validate(value, "edge.json", where="here")


@pytest.mark.parametrize("name", sorted(path.name for path in SCHEMA_FOLDER.glob("*.json")))
def test_bounds_stand_beside_their_type_and_nothing_is_negated(name: str) -> None:
    """Where jsonschema-rs is the stricter one (infinity, patterns), no `not` and no `oneOf` makes a yes of its no."""

    def schemas(node: object) -> Iterator[dict]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if isinstance(node, dict):
            yield node
        for child in children:
            yield from schemas(child)

    for schema in schemas(load_schema(name)):
        assert not schema.keys() & {"not", "if", "anyOf", "dependentSchemas", "contains", "unevaluatedProperties"}
        assert [part["type"] for part in schema.get("oneOf", [])] in ([], ["null", "object"])
        if {"minimum", "maximum", "exclusiveMinimum"} & {key for key in schema if not isinstance(schema[key], dict)}:
            assert "type" in schema


def test_jsonschema_words_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "recoveries.json"
    path.write_text('{"count": 1, "count": -1.5}')
    with pytest.raises(UserError) as fault:
        read_json(path, "history_row.schema.json")
    faults = jsonschema.Draft202012Validator(load_schema("history_row.schema.json")).iter_errors({"count": -1.5})
    worded = sorted(
        (f"{error.json_path}: {error.message}" for error in faults), key=lambda text: text.partition(":")[0]
    )
    assert str(fault.value) == f"{path}: does not fit schemas/history_row.schema.json: {'; '.join(worded[:10])}"


ENTRY = {
    "name": "0000001",
    "height": 48,
    "width": 64,
    "zero_flow_epe": 2.5,
    "clipped_pixels": 7,
    "bytes": [1, 2, 3],
    "sha256": ["0" * 64] * 3,
    "mtime_ns": [1, 2, 3],
}
FAULTS = [
    {"name": ""},
    {"name": 1},
    {"height": 0},
    {"height": True},
    {"width": 1.5},
    {"zero_flow_epe": -0.1},
    {"zero_flow_epe": "2"},
    {"clipped_pixels": -1},
    {"bytes": [1, 2]},
    {"bytes": [1, 2, -3]},
    {"bytes": "123"},
    {"sha256": ["0" * 64] * 5},
    {"sha256": ["0" * 63, "0" * 64, "0" * 64]},
    {"mtime_ns": None},
    {"files": ["a.png", "b.png"]},
    {"files": ["a.png", "b.png", "/etc/flow.flo"]},
    {"unknown_pixels": 0},
    {"surprise": 1},
]


def test_it_knows_a_sample_from_all_that_is_not_quite_one() -> None:
    definitions = load_schema("data_index.schema.json")["$defs"]
    check = schema_check({"$ref": "#/$defs/sample", "$defs": definitions})
    assert check(ENTRY)
    assert not any(check(ENTRY | fault) for fault in FAULTS)
    assert not any(check({key: value for key, value in ENTRY.items() if key != name}) for name in ENTRY)


@pytest.mark.parametrize("name", sorted(path.name for path in SCHEMA_FOLDER.glob("*.json")))
def test_every_schema_of_the_project_can_be_compiled(name: str) -> None:
    assert schema_check(load_schema(name))("not an object") is False
