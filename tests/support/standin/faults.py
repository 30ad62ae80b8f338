"""Errors in OpenAI's shape, faults that a script asks for, and broken connections."""

from aiohttp import web

from tests.support.standin.script import Json, Reply

ERROR_TYPES = {429: "rate_limit_exceeded"}


def error_body(status: int, text: str, **fields: object) -> Json:
    """Return an error object in OpenAI's shape."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": None} | fields}


def error(status: int, text: str, **fields: object) -> web.Response:
    """Return an error as OpenAI does."""
    return web.json_response(error_body(status, text, **fields), status=status)


def scripted_fault(reply: Reply, headers: dict[str, str], *, streamed: bool) -> web.Response | None:
    """Return the raw body or the error that a reply consists of, or None if it is an answer."""
    if reply.raw_body is not None:
        kind = reply.content_type or ("text/event-stream" if streamed else "application/json")
        return web.Response(text=reply.raw_body, status=reply.status, headers=headers, content_type=kind)
    if reply.status < 400:
        return None
    response = error(reply.status, "The stand-in was told to fail.", **reply.error)
    response.headers.update(headers)
    return response


def sse(payload: str, name: str | None = None) -> bytes:
    """Frame one event."""
    return (f"event: {name}\n" if name else "").encode() + f"data: {payload}\n\n".encode()


def abort(request: web.Request) -> web.Response:
    """Cut the connection without a farewell."""
    request["entry"].finished = True  # it was us, not the client
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
