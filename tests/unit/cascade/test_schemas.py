"""Which schemas the small model's server gets, and which the door refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.fields import LONGEST_PROMPT, unserved
from proxy.cascade.schemas import unserved_schema
from proxy.errors import ApiError
from proxy.formats.schemas import check_schemas
from tests.support.hostile import LARGE_SCHEMAS, SCHEMAS, in_places

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["#", "#/$defs/a", "#/a/0", "x", "http://x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$ref", "$defs", "a", "allOf", "items", "pattern", "maxItems", "enum"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("doubling", "the schema is too complex"),
        ("chain", "the schema is too complex"),
        ("remote", "the schema refers to another document"),
        ("file", "the schema refers to another document"),
        ("repetitions", "the schema has a large pattern"),
        ("many items", "the schema asks for many repetitions"),
        ("loop", None),
        ("loop of two", None),
        ("nowhere", None),
        ("odd types", None),
    ],
)
def test_schemas_for_small_model(name, reason):
    """An endless grammar and another document are for the large model alone; a schema that refers to itself is fine."""
    for fields in in_places(SCHEMAS[name]):
        check_schemas(fields)
        assert unserved_schema(fields) == reason


@pytest.mark.parametrize("name", LARGE_SCHEMAS)
def test_large_schemas(name):
    """The door refuses a schema over a limit, and one below all limits passes."""
    for fields in in_places(LARGE_SCHEMAS[name]):
        with pytest.raises(ApiError) as e:
            check_schemas(fields)
        assert (e.value.status, e.value.code) == (400, "schema_too_large")


@given(ANY)
def test_any_schema(schema):
    """Any value in the place of a schema passes, and is for one of the models."""
    for fields in (
        *in_places(schema),
        {"text": {"format": schema}},
        {"functions": schema},
        {"tools": [schema]},
    ):
        check_schemas(fields)
        unserved_schema(fields)


def test_typical_schema_is_served():
    """Everyday keywords are no trouble."""
    person = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,40}$", "maxLength": 200},
            "born": {"type": "string", "pattern": r"^\\d{4}-\\d{2}-\\d{2}$"},
            "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 100},
            "country": {"enum": [f"country {i}" for i in range(200)]},
        },
        "required": ["name"],
    }
    for fields in in_places(json.loads(json.dumps(person))):
        assert unserved_schema(fields) is None


def test_other_formats_are_large():
    """A format that makes a grammar without a schema never reaches the small model's server."""
    assert (
        unserved_schema({"response_format": {"type": "structural_tag", "x": 1}})
        == "response_format 'structural_tag'"
    )


def test_long_prompts_are_large():
    """A prompt that no small model can read is not encoded once for each sample."""
    parts = [{"type": "text", "text": "x" * (LONGEST_PROMPT // 2 + 1)}] * 2
    for content in ("x" * (LONGEST_PROMPT + 1), parts):
        reason = unserved({"messages": [{"role": "user", "content": content}]}, tools=True)
        assert reason == f"a prompt of more than {LONGEST_PROMPT} characters"
