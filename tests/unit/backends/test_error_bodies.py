"""Errors are read in the form of any vendor, and no body of an upstream is too odd to be read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.apis import api_of
from proxy.backends.error_bodies import MOST_MESSAGE, MOST_NAME, error_in_answer, read_error
from proxy.config.schema import Upstream
from tests.support.vendor_errors import FORMS, TEXTS, WORDS

KEY = "sk-proj-4Fq9zL0aVtUeW2xYb7nC"
API = api_of(Upstream(base_url="http://localhost/v1"), KEY)

ANSWERS = [
    {"object": "chat.completion", "choices": [{"message": {"content": "error"}}], "error": None},
    {"choices": [{"message": {"content": "The error is in line 3."}}], "usage": {"prompt_tokens": 1}},
    {
        "choices": [{"message": {"content": None, "tool_calls": [{"id": "x"}]}}],
        "error": {"message": "partial"},
    },
    {"choices": [], "usage": {"prompt_tokens": 3}},
    {"object": "response", "status": "completed", "error": None, "output": [{"type": "message"}]},
    {"object": "response", "status": "failed", "error": {"message": "x"}, "usage": {"input_tokens": 5}},
    {"object": "list", "data": [{"embedding": [1.0]}], "detail": "text"},
    {"message": {"role": "assistant", "content": "another API's answer"}, "done": True},
    {},
]
NAMES = "error message code type param detail loc msg choices usage status output response errors base_resp object data delta"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES.split()) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("form", [*FORMS, *TEXTS], ids=lambda form: form.name)
def test_vendors_forms(form):
    """Each form gives its words and the status that it names, below an error status and inside a 200."""
    for found in (read_error(form.body.encode()), error_in_answer(form.body.encode())):
        assert WORDS in found.message
        assert found.status == (None if form.status == 502 else form.status)


@pytest.mark.parametrize("answer", ANSWERS, ids=json.dumps)
def test_answers_are_no_errors(answer):
    """An answer is never taken for an error, also if it speaks of one."""
    assert error_in_answer(json.dumps(answer).encode()) is None


@given(json_values)
def test_any_json_is_read(value):
    """No JSON value breaks the reader, and what it finds is bounded and can be stored."""
    raw = json.dumps(value).encode()
    check(read_error(raw))
    if (found := error_in_answer(raw)) is not None:
        check(found)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read(raw):
    """No bytes break the reader."""
    check(read_error(raw))
    error_in_answer(raw)


def check(found):
    for text, most in (
        (found.message, MOST_MESSAGE),
        (found.type, MOST_NAME),
        (found.code, MOST_NAME),
        (found.param, MOST_NAME),
    ):
        assert text is None or (len(text) <= most and "\0" not in text)
        assert text is None or text.encode()


def test_deep_and_long_bodies():
    """A body that is nested or long beyond reason is an error without much ado."""
    assert len(read_error(b"[" * 100_000).message) <= MOST_MESSAGE
    assert read_error(b'{"error":' * 5000 + b"1" + b"}" * 5000)
    assert len(read_error(json.dumps({"error": "x" * 10**6}).encode()).message) <= MOST_MESSAGE


@given(
    json_values,
    st.integers(6, len(KEY)),
    st.sampled_from(["{}", "Bearer {}", "key={}.", "{}****", "{}***nC"]),
)
def test_keys_are_hidden(value, length, words):
    """No member of an error shows the key, or its beginning, wherever the upstream puts it."""
    echo = words.format(KEY[:length])
    body = {"error": {"message": echo, "type": echo, "code": echo, "param": echo, "more": value}}
    for error in (
        API.error(400, {}, json.dumps(body).encode()),
        API.error(400, {}, echo.encode()),
        API.error_inside(read_error(json.dumps({"detail": echo}).encode()), {}),
    ):
        assert KEY[:6] not in json.dumps(error.body())


@given(st.integers(0, len(KEY) - 12), st.text(max_size=20))
def test_parts_are_hidden(start, text):
    """No twelve characters of the key are shown."""
    part = KEY[start : start + 12]
    assert part not in API.error(400, {}, (text + part + text).encode()).message


def test_keys_in_long_texts():
    """The complete key is hidden in a text of any length."""
    assert API.hidden({"a": ["x" * 10**6 + KEY]}) == {"a": ["x" * 10**6 + "***"]}


@pytest.mark.parametrize("form", ["sk-p***2nC", "sk-proj-****7nC", "************7nC", "sk-...7nC", "sk-pro…"])
def test_starred_keys_are_hidden(form):
    """The forms in which vendors quote a key are hidden, too."""
    shown = API.error(400, {}, f"Incorrect API key provided: {form}. Get one.".encode()).message
    assert shown == "Incorrect API key provided: ***. Get one."


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("EMPTY", "The prompt is EMPTY.", "The prompt is ***."),
        ("k", "a kind of milk", "a kind of milk"),
        ("a/b+c=d-e", "a%2Fb%2Bc%3Dd-e", "***"),
        ("sk-upstream-secret", "The upstream has no secret.", "The upstream has no secret."),
    ],
)
def test_odd_keys(key, text, shown):
    """Short keys hide only words of their own, quoted keys are found, and words that a key contains stay."""
    assert (
        api_of(Upstream(base_url="http://localhost/v1"), key).error(400, {}, text.encode()).message == shown
    )
