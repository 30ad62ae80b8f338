"""Reading and checking a request body."""

from typing import Any

import msgspec
from litestar.types import Receive

from proxy.errors import bad_request, request_too_large
from proxy.formats.base import Format

DISCARD_FACTOR = 8
"""An oversized body is read and dropped up to this many times the limit. Some senders read the answer, a 413, only
after they have written everything."""


class ClientDisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


async def disconnected(receive: Receive) -> None:
    """Wait until the client closes the connection. The body has to be read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request body of at most `limit` bytes.

    Raises:
        ApiError: 413 when it is larger.
        ClientDisconnectedError: the connection closed first.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        piece: bytes = message.get("body", b"")  # type: ignore[assignment]
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body") or size > DISCARD_FACTOR * limit:
            break
    if size > limit:
        raise request_too_large(size, limit)
    return b"".join(pieces)


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
    format_.check(body)
    return body


def decode_object(raw: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        ApiError: 400 if it is not one.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise bad_request(
            f"The request body is not valid JSON: {str(e)[:200]}.", code="invalid_json"
        ) from None
    if not isinstance(body, dict):
        raise bad_request("The request body has to be a JSON object.", code="invalid_json")
    return body
