"""Reading and checking a request body."""

import asyncio
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.types import Receive

from proxy.cascade.types import Json
from proxy.errors import bad_request, request_too_large, too_many_bodies
from proxy.fairness import FairShare
from proxy.formats.base import Format
from proxy.http.encodings import decoded, encoding_of
from proxy.http.json_shape import HARMLESS_BYTES, check_shape

DISCARD_FACTOR = 8
"""An oversized body is read and dropped up to this many times the limit. Some senders read the answer, a 413, only
after they have written everything."""
FREE_BYTES = 64 * 2**10
"""Smaller bodies are not counted. The connection itself holds as much."""
MOST_ENTRIES = 64
"""The most tags in `metadata`, and the most names in `models`. OpenAI allows 16 tags."""

_MOST_REPAIRED_BYTES = 2 * 2**20
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)((?:\\\\)*+)\\u(?:"
    rb"[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)


class ClientDisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


async def disconnected(receive: Receive) -> None:
    """Wait until the client closes the connection. The body has to be read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass
class HeldBody:
    """The bytes that one request takes from the share of all bodies in memory."""

    share: FairShare
    owner: str
    held: int = 0

    def grow_to(self, size: int) -> None:
        """Count a body of this size.

        Raises:
            ApiError: 503 with Retry-After if the owner's share is used up.
        """
        if size > max(self.held, FREE_BYTES):
            if not self.share.take(self.owner, size - self.held):
                raise too_many_bodies()
            self.held = size


@contextmanager
def holding(share: FairShare, owner: str) -> Iterator[HeldBody]:
    """Count the body of a request while the block runs."""
    body = HeldBody(share, owner)
    try:
        yield body
    finally:
        share.give_back(owner, body.held)


async def read_body(
    receive: Receive, headers: Iterable[tuple[bytes, bytes]], limit: int, body: HeldBody
) -> bytes:
    """Read a request body of at most `limit` bytes, decompress it, and return it in UTF-8.

    Raises:
        ApiError: 413 when it is larger, 415 for an unknown encoding, 400 when it does not have its encoding,
            503 when too many bodies are in memory.
        ClientDisconnectedError: the connection closed first.
    """
    encoding = encoding_of(headers)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        piece: bytes = message.get("body", b"")  # type: ignore[assignment]
        size += len(piece)
        if size <= limit:
            body.grow_to(size)
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body") or size > DISCARD_FACTOR * limit:
            break
    if size > limit:
        raise request_too_large(size, limit)
    raw = b"".join(pieces)
    if encoding is not None:
        raw = await asyncio.to_thread(decoded, raw, encoding, limit)
    raw = _as_utf8(raw)
    # Python keeps a text with one character beyond ASCII in two or four bytes a character.
    body.grow_to(len(raw) if raw.isascii() else 2 * len(raw))
    if len(raw) > HARMLESS_BYTES:
        await asyncio.to_thread(check_shape, raw)
    return raw


def decode(raw: bytes, format_: Format, default_model: str) -> dict[str, Any]:
    """Decode a request, and check the fields that the proxy itself reads.

    Unknown fields stay. The model that answers checks the rest. If the format does not need a `model`, and there is
    none, the default is filled in.

    Raises:
        ApiError: 400 that names the parameter.
    """
    body = decode_object(raw)
    if body.get("model") is None and format_.model_is_optional:
        body["model"] = default_model
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise bad_request(
            "You must provide a model parameter, a string.", param="model", code="missing_required_parameter"
        )
    _check_entries(body)
    format_.check(body)
    return body


def decode_object(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        ApiError: 400 if it is not one.
    """
    body = _parse(raw)
    if not isinstance(body, dict):
        raise bad_request("The request body has to be a JSON object.", code="invalid_json")
    return body


def _as_utf8(raw: bytes) -> bytes:
    """Return a JSON text without a byte order mark. Tools on Windows write one.

    Raises:
        ApiError: 400 for UTF-16 and UTF-32.
    """
    if raw[:1] == b"{" and raw[1:2] != b"\0":
        return raw  # as almost all are
    encoding = json.detect_encoding(raw[:4])
    if encoding in ("utf-8", "utf-8-sig"):
        return raw.removeprefix(BOM_UTF8)
    raise bad_request(f"The request body is in {encoding}; JSON has to be in UTF-8.", code="invalid_json")


def _parse(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        problem = str(e)[:200]
    if rb"\ud" in raw or rb"\uD" in raw:
        # A client has cut a text within an emoji. JavaScript writes the half of it as an escape.
        problem += (
            " (perhaps by a lone surrogate, which is an escape such as \\ud83d without its second half)"
        )
        if len(raw) <= _MOST_REPAIRED_BYTES:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return msgspec.json.decode(_LONE_SURROGATE.sub(rb"\1\\ufffd", raw))
    raise bad_request(f"The request body is not valid JSON: {problem}.", code="invalid_json")


def _check_entries(body: Json) -> None:
    for name in ("metadata", "models"):
        value = body.get(name)
        if isinstance(value, dict | list) and len(value) > MOST_ENTRIES:
            raise bad_request(
                f"'{name}' has {len(value)} entries; the limit is {MOST_ENTRIES}.",
                param=name,
                code="too_many_values",
            )
