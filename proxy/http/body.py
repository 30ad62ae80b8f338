"""Reading and checking a request body."""

from typing import Any

import msgspec
from litestar.types import Receive

from proxy.errors import ApiError, bad_request

DISCARD_FACTOR = 8
"""An oversized body is read and dropped up to this many times the limit, so that its sender, which may
not read before it has written everything, gets to see the 413."""


class ClientLeft(Exception):  # noqa: N818
    """The client closed the connection before its request was whole."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request body of at most `limit` bytes.

    Raises:
        ApiError: 413 when it is larger.
        ClientLeft: the connection closed first.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece: bytes = message.get("body", b"")  # type: ignore[assignment]
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body") or size > DISCARD_FACTOR * limit:
            break
    if size > limit:
        raise ApiError(
            413,
            f"The request body has {size} bytes or more; the limit is {limit} (server.max_body_bytes).",
            code="request_too_large",
            headers={"connection": "close"},
        )
    return b"".join(pieces)


def decode_chat(raw: bytes) -> dict[str, Any]:
    """Decode a chat completion request and check what the proxy itself relies on.

    Unknown fields stay; the model that answers judges the rest.

    Raises:
        ApiError: 400 that names the parameter.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise bad_request(
            f"The request body is not valid JSON: {str(e)[:200]}.", code="invalid_json"
        ) from None
    if not isinstance(body, dict):
        raise bad_request("The request body has to be a JSON object.", code="invalid_json")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise bad_request(
            "You must provide a model parameter, a string.", param="model", code="missing_required_parameter"
        )
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad_request("'messages' has to be a non-empty array.", param="messages", code="invalid_type")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad_request(
                f"'messages[{i}]' has to be an object with a 'role'.",
                param=f"messages[{i}]",
                code="invalid_type",
            )
        content = message.get("content")
        if not (content is None or isinstance(content, (str, list))):
            raise bad_request(
                f"'messages[{i}].content' has to be a string or an array of parts.",
                param=f"messages[{i}].content",
                code="invalid_type",
            )
        if isinstance(content, list) and not all(isinstance(p, dict) for p in content):
            raise bad_request(
                f"'messages[{i}].content' has to hold objects.",
                param=f"messages[{i}].content",
                code="invalid_type",
            )
    _check_fields(body)
    return body


def _check_fields(body: dict[str, Any]) -> None:
    for name in ("n", "max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 1 or value > 2**31
        ):
            raise bad_request(
                f"'{name}' has to be an integer in 1..{2**31}.", param=name, code="invalid_value"
            )
    for name, kind in (
        ("tools", list),
        ("functions", list),
        ("stream_options", dict),
        ("response_format", dict),
    ):
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise bad_request(f"'{name}' has the wrong type.", param=name, code="invalid_type")
    for name in ("tools", "functions"):
        if not all(isinstance(tool, dict) for tool in body.get(name) or ()):
            raise bad_request(f"'{name}' has to hold objects.", param=name, code="invalid_type")
    if body.get("stream") is not None and not isinstance(body["stream"], bool):
        raise bad_request("'stream' has to be true or false.", param="stream", code="invalid_type")
