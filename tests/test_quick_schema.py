"""The quick check of JSON values accepts nothing that jsonschema refuses."""

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.artifacts import SCHEMA_FOLDER, load_schema
from edgeflownas.quick_schema import quick_check

NAMES = st.sampled_from(["a", "b"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(-2, 3), st.text("0a\n", max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner)),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])
SCHEMAS = st.recursive(
    st.one_of(
        st.booleans(),
        st.fixed_dictionaries({"$ref": st.just("#/$defs/small")}),
        st.fixed_dictionaries({"minLength": st.integers(0, 2), "pattern": st.sampled_from(["^0", "a$", "^[0-9]+$"])}),
        st.fixed_dictionaries({"minimum": st.integers(-1, 1), "exclusiveMinimum": st.integers(-1, 1)}),
        st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": st.just({}), "const": VALUES}),
        st.fixed_dictionaries({"type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=2, unique=True))}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner, "minItems": st.integers(0, 1), "maxItems": st.integers(1, 2)}),
        st.fixed_dictionaries(
            {"properties": st.dictionaries(NAMES, inner), "required": st.lists(NAMES, unique=True)},
            optional={"additionalProperties": inner, "type": TYPES},
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), VALUES)
def test_what_it_accepts_fits(schema: dict, value: object) -> None:
    schema = schema | {"$defs": {"small": {"type": "number", "maximum": 1}}}
    if quick_check(schema)(value):
        jsonschema.Draft202012Validator(schema).validate(value)


ENTRY = {
    "name": "0000001",
    "height": 48,
    "width": 64,
    "zero_flow_epe": 2.5,
    "bytes": [1, 2, 3],
    "sha256": ["0" * 64] * 3,
    "mtime_ns": [1, 2, 3],
}
FAULTS = [
    {"name": "1x"},
    {"name": 1},
    {"height": 0},
    {"height": True},
    {"width": 1.5},
    {"zero_flow_epe": -0.1},
    {"zero_flow_epe": "2"},
    {"bytes": [1, 2]},
    {"bytes": [1, 2, -3]},
    {"bytes": (1, 2, 3)},
    {"sha256": ["0" * 64] * 4},
    {"sha256": ["0" * 63, "0" * 64, "0" * 64]},
    {"mtime_ns": None},
    {"surprise": 1},
]


def test_it_knows_a_sample_from_all_that_is_not_quite_one() -> None:
    definitions = load_schema("data_index.schema.json")["$defs"]
    check = quick_check({"$ref": "#/$defs/sample", "$defs": definitions})
    assert check(ENTRY)
    assert not any(check(ENTRY | fault) for fault in FAULTS)
    assert not any(check({key: value for key, value in ENTRY.items() if key != name}) for name in ENTRY)


@pytest.mark.parametrize("name", sorted(path.name for path in SCHEMA_FOLDER.glob("*.json")))
def test_every_schema_of_the_project_can_be_compiled(name: str) -> None:
    assert quick_check(load_schema(name))("not an object") is False
