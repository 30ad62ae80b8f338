"""JSON as servers send it is read, and members change without touching the bytes of the others."""

import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.embeddings import Embeddings
from proxy.formats.lenient import (
    TooDeepError,
    as_utf8,
    decode,
    decode_except,
    decode_object,
    encode,
    finite,
    is_json,
    members,
    mended,
    with_members,
)
from tests.support.odd import same

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, -(10**300), math.nan, math.inf])
TEXTS = st.text(st.characters(codec=None, categories=("L", "N", "P", "S", "Z", "C", "Cs")))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS.filter(lambda name: name not in ("cope", "usage")), JSON, max_size=4)
BLANKS = st.sampled_from(["", "\n", " \r\n"])


@given(JSON | OBJECTS, OBJECTS, JSON)
def test_members_are_left_out(value, others, data):
    """Without a member, the rest is read as with it, and whether the member is null stays known."""
    assert same(decode_except(json.dumps(value).encode(), ()), value)
    read = decode_except(json.dumps({**others, "data": data}).encode(), {"data"})
    assert same(
        {k: v for k, v in read.items() if k != "data"}, {k: v for k, v in others.items() if k != "data"}
    )
    assert (read["data"] is None) is (data is None)


def test_large_members_take_no_memory():
    """A batch of embeddings is not decoded to be counted."""
    answer = {
        "data": [{"embedding": [0.25] * 1500, "index": i} for i in range(300)],
        "usage": {"prompt_tokens": 3},
    }
    raw = json.dumps(answer).encode()
    tracemalloc.start()
    try:
        read = decode_except(raw, Embeddings().unread)
        assert tracemalloc.get_traced_memory()[1] < len(raw) / 2
    finally:
        tracemalloc.stop()
    assert Embeddings().read_complete(read).usage.prompt_tokens == 3


@given(JSON, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]))
def test_whatever_python_sends(value, encoding):
    """All that a server in Python can send is read as it was, in any Unicode encoding."""
    raw = json.dumps(value).encode(encoding)
    assert same(decode(raw), value)
    assert same(json.loads(as_utf8(raw)), value)
    decode(encode(decode(raw)))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "x\ty\n"}', {"a": "x\ty\n"}),
        (b'{"a": "\xff"}', {"a": "�"}),
        (b'{"a": 1e999}', {"a": math.inf}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": math.inf}),
    ],
    ids=["control characters", "no UTF-8", "large float", "large integer"],
)
def test_not_quite_json(raw, value):
    """Raw control characters, broken UTF-8 and numbers without limit are read."""
    assert decode(raw) == value


@pytest.mark.parametrize("raw", [b"", b"ping", b"{'a': 1}", b'{"a": 1', b"<html>", b"\xff\xfe", b"\x00"])
def test_no_json(raw):
    """Something else is a ValueError, and no object."""
    with pytest.raises(ValueError):
        decode(raw)
    assert decode_object(raw) == {}
    assert not is_json(raw)


def test_deep_nesting():
    """JSON that is nested too deeply is said to be JSON, but is not read."""
    raw = b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(TooDeepError):
        decode(raw)
    assert is_json(raw)
    assert with_members(raw, {"cope": b"{}"}).endswith(b',"cope":{}}')


@given(TEXTS)
def test_mended_texts(text):
    """A mended text can be encoded, keeps its good characters, and has whole pairs joined."""
    mended(text).encode()
    halves = text.encode("utf-16-le", "surrogatepass")
    assert mended(text) == halves.decode("utf-16-le", "replace")


@given(OBJECTS, BLANKS, BLANKS)
def test_members_are_added(answer, begin, end):
    """An object keeps its bytes and gains one member at its end."""
    raw = (begin + json.dumps(answer) + end).encode()
    got = with_members(raw, {"cope": b'{"stage":3}'})
    kept = raw.strip()[:-1]
    assert got == kept + (b"," if answer else b"") + b'"cope":{"stage":3}}'


@given(OBJECTS, OBJECTS, BLANKS)
def test_members_are_replaced(answer, old, blank):
    """A member that is there already is replaced or removed, and the others keep their bytes."""
    whole = {"usage": old, **answer, "cope": old}
    raw = json.dumps(whole, separators=("," + blank, ":" + blank)).encode()
    got = with_members(raw, {"cope": b"3", "usage": None})
    assert same(json.loads(got), {**answer, "cope": 3})
    assert got.count(b'"cope":3') == 1
    before, after = members(raw), members(got)
    assert {k: v for k, v in after.items() if k != "cope"} == {k: before[k] for k in after if k != "cope"}


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize(
    ("raw", "changes", "changed"),
    [
        (b'{"a": "cope"}', {"cope": None}, b'{"a":"cope"}'),
        (b'{"a": 1}', {"cope": None}, b'{"a": 1}'),
        (b'{"cope": ' + DEEP + b"}", {"cope": b"1"}, b'{"cope": ' + DEEP + b',"cope":1}'),
        (b'{"cope": ' + DEEP + b"}", {"cope": None}, b'{"cope": ' + DEEP + b"}"),
        (b'{"a" 1, "cope"}', {"cope": b"1"}, b'{"a" 1, "cope","cope":1}'),
    ],
    ids=["a value of that name", "nothing to remove", "too deep", "too deep to remove", "no JSON"],
)
def test_unusual_objects(raw, changes, changed):
    """What cannot be taken apart gets the member at its end."""
    assert with_members(raw, changes) == changed


@pytest.mark.parametrize("raw", [b"[]", b"7", b"", b'"text"', b"no JSON"])
def test_no_object(raw):
    """Something else stays as it is."""
    assert with_members(raw, {"cope": b"1"}) == raw


def test_byte_order_mark():
    """A byte order mark goes, because JSON must not have one."""
    assert with_members(b'\xef\xbb\xbf{"a": 1}', {"cope": b"1"}) == b'{"a": 1,"cope":1}'


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (-0.5, -0.5), (True, None), ("1", None), (math.nan, None), (10**400, None)],
)
def test_finite_numbers(value, number):
    """Only finite numbers are numbers."""
    assert finite(value) == number
