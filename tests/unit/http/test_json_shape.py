"""Counting the values of a JSON text without building them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ApiError
from proxy.http import json_shape
from proxy.http.json_shape import MOST_MEMBERS, MOST_VALUES, check_shape

TEXTS = st.text(alphabet='ab"\\,:[{}]\n\ud83d\u00e9', max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=40,
)


def structure_of(value):
    """Count the commas, colons and opening brackets of a document by walking through it."""
    if isinstance(value, dict):
        return 1 + len(value) + max(0, len(value) - 1) + sum(map(structure_of, value.values()))
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(map(structure_of, value))
    return 0


@given(DOCUMENTS, st.booleans(), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_structure_is_exact(document, plain, slice_bytes):
    """What is counted is the structure of the document, whatever its texts hold and wherever it is cut."""
    raw = json.dumps(document, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    assert sum(map(len, json_shape.structure(raw, slice_bytes))) == structure_of(document)


@pytest.mark.parametrize(
    "value",
    [
        [0] * (MOST_VALUES + 1),
        [""] * (MOST_VALUES + 1),
        [{}] * (MOST_MEMBERS + 1),
        [[]] * (MOST_MEMBERS + 1),
        {str(i): "" for i in range(MOST_MEMBERS + 1)},
    ],
)
def test_many_values_are_refused(value):
    """A body with too many values of any kind is a 400 that says so."""
    with pytest.raises(ApiError) as e:
        check_shape(json.dumps(value).encode())
    assert (e.value.status, e.value.code) == (400, "too_many_values")


def test_large_texts_pass():
    """One large text, and an embedding at OpenAI's own limit, are no problem."""
    check_shape(json.dumps({"messages": [{"role": "user", "content": '{"a": [1, 2]}, ' * 500_000}]}).encode())
    check_shape(json.dumps({"input": [[7] * 8000] * 37}).encode())
