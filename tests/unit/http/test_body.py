"""Reading request bodies: encodings, limits, and texts that clients have cut."""

import asyncio
import gzip
import json
import zlib

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ApiError
from proxy.fairness import FairShare
from proxy.formats.chat import Chat
from proxy.http.body import FREE_BYTES, decode, holding, read_body
from proxy.http.encodings import decoded

LIMIT = 2**20


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:1]) + gzip.compress(data[1:]) + b"\0" * 20,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, identity": raw_deflate,
    "zstd": zstandard.compress,
    " zstd ": lambda data: zstandard.compress(data[:1]) + zstandard.compress(data[1:]),
    "identity": bytes,
}


def read(raw, *, encoding=None, share=None, limit=LIMIT, pieces=3):
    """Read a body as it comes from a connection in pieces."""
    step = max(1, len(raw) // pieces)
    parts = [raw[i : i + step] for i in range(0, len(raw), step)] or [b""]

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def run():
        headers = [] if encoding is None else [(b"content-encoding", encoding.encode())]
        with holding(share or FairShare(2**30), "key") as body:
            return await read_body(receive, headers, limit, body)

    return asyncio.run(run())


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("size", [0, 1, 100, 2**18, LIMIT])
def test_encodings_are_read(name, size):
    """Each accepted encoding is read, in all spellings and forms that clients send."""
    plain = b'"' + b"ab\\n" * (size // 4) + b'"' if size else b""
    assert read(PACKERS[name](plain), encoding=name, limit=LIMIT + 10) == plain


@given(
    encoding=st.sampled_from(["gzip", "deflate", "zstd"]),
    plain=st.binary(max_size=300),
    noise=st.binary(max_size=5),
    cut=st.integers(0, 300),
)
@settings(max_examples=200, deadline=None)
def test_broken_encodings_are_refused(encoding, plain, noise, cut):
    """A damaged body is a 400, and never another error or more than the limit."""
    packed = PACKERS[encoding](plain)
    try:
        assert len(decoded(packed[:cut] + noise + packed[cut:], encoding, 300)) <= 300
    except ApiError as e:
        assert e.status in (400, 413)  # noqa: PT017  (a damaged body may also be readable)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
def test_bombs_are_refused(name):
    """The limit holds for the decompressed body."""
    with pytest.raises(ApiError) as e:
        read(PACKERS[name](b"0" * 200 * LIMIT), encoding=name)
    assert e.value.status == 413


@pytest.mark.parametrize("name", ["br", "compress", "gzip, gzip", "utf-8", "zstd;q=1"])
def test_other_encodings_are_named(name):
    """Another encoding is a 415 that names it and those that are accepted."""
    with pytest.raises(ApiError) as e:
        read(b"{}", encoding=name)
    assert e.value.status == 415
    assert name in e.value.message
    assert "zstd" in e.value.message


def chat(escaped):
    return f'{{"model":"cope","messages":[{{"role":"user","content":"{escaped}"}}]}}'.encode()


ESCAPES = ["a", r"\n", r"\\", r"\"", r"\ud83d", r"\uDE00", r"\ud83d\ude00", r"\u0041", "\u00e9", "ud83d"]


@given(st.lists(st.sampled_from(ESCAPES), max_size=8))
@settings(max_examples=400, deadline=None)
def test_cut_emojis_are_repaired(parts):
    """A lone surrogate becomes the replacement character, and the rest of the text stays as it is."""
    escaped = "".join(parts)
    wanted = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in json.loads(f'"{escaped}"'))
    try:
        got = decode(chat(escaped), Chat(), "cope")["messages"][0]["content"]
    except ApiError as e:
        assert "surrogate" in e.message  # noqa: PT017  (not every text can be repaired, and the words say why)
        assert r"\\ud83d\uDE00" in escaped
    else:
        assert got == wanted
        msgspec.json.encode(got)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_charsets_are_named(encoding):
    """A body in another encoding of Unicode is a 400 that names it, and a byte order mark is no trouble."""
    with pytest.raises(ApiError, match="utf-"):
        read('{"a": 1}'.encode(encoding))
    assert read('{"a": 1}'.encode("utf-8-sig")) == b'{"a": 1}'


def test_bodies_have_fair_shares():
    """One key may hold as much as it leaves to others; its bodies are given back at their end."""
    share = FairShare(10 * LIMIT)
    with holding(share, "greedy") as one, holding(share, "greedy") as two, holding(share, "modest") as three:
        one.grow_to(5 * LIMIT)
        with pytest.raises(ApiError) as e:
            two.grow_to(LIMIT)
        assert (e.value.status, "retry-after" in e.value.headers) == (503, True)
        two.grow_to(FREE_BYTES)
        three.grow_to(2 * LIMIT)
    assert share.free == 10 * LIMIT
    assert read(b'"' + b"a" * LIMIT + b'"', share=FairShare(3 * LIMIT), limit=2 * LIMIT)
    with pytest.raises(ApiError):
        read('"é'.encode() + b"a" * LIMIT + b'"', share=FairShare(3 * LIMIT), limit=2 * LIMIT)


@pytest.mark.parametrize("entries", [{str(i): "" for i in range(70)}, ["x"] * 70])
def test_long_lists_are_refused(entries):
    """Too many tags or models are a 400 that names the field."""
    name = "metadata" if isinstance(entries, dict) else "models"
    body = {"model": "cope", "messages": [{"role": "user", "content": "hi"}], name: entries}
    with pytest.raises(ApiError) as e:
        decode(json.dumps(body).encode(), Chat(), "cope")
    assert (e.value.status, e.value.param) == (400, name)
