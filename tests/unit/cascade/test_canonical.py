"""Canonical JSON, schemas and labels."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.canonical import conforms, dumps, parse, short
from tests.unit.cascade.voting import vote


def asked(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}


@pytest.mark.parametrize(
    ("body", "content", "label"),
    [
        (asked({"type": "object", "required": ["a"]}), '{"b": [1, 2], "a": 1e0}', '{"a":1,"b":[1,2]}'),
        (asked({"type": "object", "required": ["a"]}), "{}", None),
        (asked({"type": "array", "items": {"type": "integer"}}), "[1.5]", None),
        (asked({"type": "nonsense"}), "[1]", "[1]"),
        (asked({"$ref": "https://example.com/s.json"}), "1", None),
        (asked({"$ref": "#/$defs/none"}), "1", None),
        (asked({"$schema": "https://example.com/s.json", "type": "integer"}), "1", "1"),
        (asked({"type": "string", "pattern": "^(?=.*1)(?!b).*$"}), '"a1"', '"a1"'),
        (asked({"type": "string", "pattern": "^(a{1000}){1000}$"}), '"a"', None),
        (asked({"$ref": "#"}), "1", "1"),
        (asked(None), "1", "1"),
        (asked("odd"), "1", "1"),
        ({"response_format": {"type": "json_object"}}, '{"a": true}', '{"a":true}'),
        ({"response_format": {"type": "json_object"}}, "[1]", None),
        ({"response_format": {"type": "json_object"}}, '```json\n{"a": 1}\n```', None),
        ({"response_format": {"type": "json_object"}}, '{"a": NaN}', None),
        ({"response_format": {"type": "json_object"}}, '{"a": 1e999}', None),
        ({}, "[" * 100_000, None),
        (asked({"type": "integer"}), "9" * 5000, None),
        (asked({"type": "array"}), "[" * 5000 + "]" * 5000, None),
        (asked({"type": "string"}), '"\\ud800"', None),
    ],
)
def test_labels_of_documents(body, content, label):
    """A document counts when it is strict JSON of the requested form; an invalid schema demands nothing."""
    assert vote("structured", content, body=body) == label


def doubling(depth):
    twice = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$defs": {**twice, f"d{depth}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"allOf": [schema]}
    return schema


@pytest.mark.parametrize(
    ("schema", "valid"),
    [
        ({"pattern": "^(a+)+$"}, False),
        ({"pattern": "^(?=(a|aa)+$)"}, False),
        (doubling(50), False),
        (nested(5000), False),
        ({"enum": ["x" * 10**6]}, False),
        ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, True),
    ],
)
def test_schemas_leave_loop_free(schema, valid):
    """One that doubles, backtracks or nests without end gives no vote, and others are served meanwhile."""

    async def ask():
        await conforms("warm", {"type": "string"})
        running = asyncio.ensure_future(conforms("a" * 60 + "b", schema))
        started, longest = time.monotonic(), 0.0
        while not running.done():
            await asyncio.sleep(0.01)
            longest, started = max(longest, time.monotonic() - started), time.monotonic()
        return await running, longest, await conforms("b", {"type": "string"})

    satisfied, longest, later = asyncio.run(ask())
    assert (satisfied, later) == (valid, True)
    assert longest < 0.4


@given(
    st.dictionaries(
        st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
    )
)
def test_canonical_json(value):
    """Order, spaces and the way a number is written do not count."""
    turned = json.dumps(dict(reversed(value.items())), indent=2)
    assert dumps(parse(turned)) == dumps(parse(json.dumps(value)))
    assert asyncio.run(conforms(parse(turned), {"type": "object"}))


def test_long_labels_stay_distinct():
    """A label is cut, and what was cut still tells two of them apart."""
    assert len(short("a" * 500)) < 110
    assert short("a" * 500) != short("a" * 501)
