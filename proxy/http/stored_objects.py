"""Requests for stored responses and chat completions, as raw ASGI, because a stream has to end with its client."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from litestar import HttpMethod, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.errors import ApiError, internal_error, not_found, request_timeout
from proxy.http.asgi_reply import AsgiReply
from proxy.http.auth import Caller
from proxy.http.body import ClientDisconnectedError, HeldBody, decode_object, disconnected, holding, read_body
from proxy.http.dependencies import app_state, authenticator
from proxy.ids import new_id
from proxy.logs import REQUEST_ID
from proxy.service import stored_completions, stored_responses
from proxy.service.objects import ObjectRequest
from proxy.service.reply import Reply
from proxy.service.state import AppState

log = logging.getLogger(__name__)

Serve = Callable[[AppState, ObjectRequest, Reply], Awaitable[None]]

OBJECTS: Mapping[str, Mapping[str, Serve]] = {
    "/v1/responses/{id:str}": {"GET": stored_responses.retrieve, "DELETE": stored_responses.delete},
    "/v1/responses/{id:str}/cancel": {"POST": stored_responses.cancel},
    "/v1/responses/{id:str}/input_items": {"GET": stored_responses.input_items},
    "/v1/chat/completions": {"GET": stored_completions.list_stored},
    "/v1/chat/completions/{id:str}": {
        "GET": stored_completions.retrieve,
        "POST": stored_completions.label,
        "DELETE": stored_completions.delete,
    },
    "/v1/chat/completions/{id:str}/messages": {"GET": stored_completions.messages},
}
"""What serves each path and method. The model endpoints hand over a GET of their own path."""

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,127}")
"""An id that may stand in an upstream's path."""
_METHODS = [
    HttpMethod.OPTIONS,
    HttpMethod.GET,
    HttpMethod.POST,
    HttpMethod.PUT,
    HttpMethod.PATCH,
    HttpMethod.DELETE,
]
_WITH_BODY = {stored_completions.label}


async def serve_objects(path: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request for stored objects. `path` is its template in `OBJECTS`."""
    app, request_id = app_state(scope["litestar_app"]), REQUEST_ID.get() or new_id("req")
    reply = AsgiReply(send, {"x-request-id": request_id})
    named = path.startswith("/v1/responses")
    method = str(scope.get("method"))
    try:
        if method == "OPTIONS":
            await reply.empty({"allow": _allowed(path)})
            return
        serve = _serve(path, method)
        caller = await authenticator(scope["litestar_app"]).caller(scope["headers"])
        with holding(app.bodies, caller.key_id or str((scope.get("client") or [""])[0])) as body:
            request = await _read(app, serve, scope, receive, caller, body)
            async with asyncio.timeout(app.settings.server.request_timeout_s):
                await _run(serve(app, request, reply), receive)
    except ClientDisconnectedError:
        return
    except TimeoutError:
        await reply.error(request_timeout(), named=named)
    except ApiError as e:
        await reply.error(e, named=named)
    except Exception:
        log.exception("request %s failed", request_id)
        await reply.error(internal_error(request_id), named=named)


def _serve(path: str, method: str) -> Serve:
    methods = OBJECTS[path]
    if method not in methods:
        allowed = _allowed(path)
        raise ApiError(
            405,
            f"Method {method} is not allowed here; use {allowed}.",
            code="method_not_allowed",
            headers={"allow": allowed},
        )
    return methods[method]


def _allowed(path: str) -> str:
    return ", ".join(["OPTIONS", *OBJECTS[path]])


async def _read(
    app: AppState, serve: Serve, scope: Scope, receive: Receive, caller: Caller, body: HeldBody
) -> ObjectRequest:
    raw = await read_body(receive, scope["headers"], app.settings.server.max_body_bytes, body)
    id_ = str(scope.get("path_params", {}).get("id", ""))
    if "id" in scope.get("path_params", {}) and not _ID.fullmatch(id_):
        raise not_found(f"No object can have the id {id_[:128]!r}.")
    return ObjectRequest(
        key=caller.key,
        id=id_,
        query=parse_qs(scope["query_string"].decode("latin-1")),
        body=decode_object(raw) if serve in _WITH_BODY else {},
    )


async def _run(serving: Awaitable[None], receive: Receive) -> None:
    """Serve, and stop when the client leaves.

    Raises:
        ClientDisconnectedError: the client has left.
    """
    work, gone = asyncio.ensure_future(serving), asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnectedError
        work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def _route(path: str) -> HTTPRouteHandler:
    # Litestar's raw ASGI routes cannot have parameters in their paths, but a handler may return an ASGI application.
    @route(path, http_method=_METHODS, include_in_schema=False)
    async def stored_object() -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await serve_objects(path, scope, receive, send)

        return serve

    return stored_object


stored_objects = [_route(path) for path in OBJECTS if "{" in path]
"""The routes. The model endpoints have the others."""
