"""The model endpoints under /v1, as a raw ASGI route.

This is the hot path, and only a raw route controls its own cleanup.

Litestar does not reliably clean up a streaming generator when the client drops (litestar-org/litestar#3772). Here the
server's task answers, and it is cancelled when the client disconnects.
"""

import logging

from litestar import asgi
from litestar.types import HTTPScope, Receive, Send

from proxy.errors import ApiError, internal_error
from proxy.fairness import OWNER, Owner
from proxy.formats.base import Format
from proxy.formats.chat import Chat
from proxy.formats.compact import Compact
from proxy.formats.completions import Completions
from proxy.formats.embeddings import Embeddings
from proxy.formats.input_tokens import InputTokens
from proxy.formats.responses import Responses
from proxy.http.asgi_reply import AsgiReply, kept_alive
from proxy.http.auth import Caller
from proxy.http.body import ClientDisconnectedError, HeldBody, decode, disconnected, holding, read_body
from proxy.http.control_headers import read_controls
from proxy.http.departure import stopped_by
from proxy.http.dependencies import app_state, authenticator
from proxy.http.stored_objects import OBJECTS, serve_objects
from proxy.ids import new_id, now
from proxy.logs import REQUEST_ID
from proxy.service.answer import answer
from proxy.service.request import ModelRequest
from proxy.service.routing import default_name
from proxy.service.state import AppState

log = logging.getLogger(__name__)

FORMATS: dict[str, Format] = {
    f"/v1{d.path}": d for d in (Chat(), Responses(), Compact(), InputTokens(), Completions(), Embeddings())
}


@asgi(list(FORMATS))
async def model_endpoints(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Read, admit and answer one request to a model."""
    path = scope["path"].rstrip("/")
    if scope.get("method") == "GET" and path in OBJECTS:
        await serve_objects(path, scope, receive, send)
        return
    app = app_state(scope["litestar_app"])
    format_ = FORMATS[path]
    reply = AsgiReply(send)
    request_id = REQUEST_ID.get() or new_id("req")
    try:
        if scope["method"] == "OPTIONS":
            await reply.empty({"allow": "OPTIONS, POST"})
            return
        caller = await _caller(scope)
        owner = Owner(caller.key_id or _address(scope), request_id)
        OWNER.set(owner)  # for this task and those that it starts
        with holding(app.bodies, owner.key) as body:
            request = await _read(app, format_, request_id, scope, receive, caller, body)
            await _run(app, request, reply, receive)
    except ClientDisconnectedError:
        return
    except ApiError as e:
        e.__traceback__ = None  # it would keep the body alive until a slow client has read the error
        e.headers = {"x-request-id": request_id, **e.headers, "x-cope-request-id": request_id}
        await reply.error(e, named=format_.events_are_named)
    except Exception:
        log.exception("request %s failed", request_id)
        await reply.error(internal_error(request_id), named=format_.events_are_named)


async def _caller(scope: HTTPScope) -> Caller:
    """Check the method and the key, before anything of the body is read."""
    if scope["method"] != "POST":
        raise ApiError(
            405,
            f"Method {scope['method']} is not allowed here; use POST.",
            code="method_not_allowed",
            headers={"allow": "OPTIONS, POST"},
        )
    return await authenticator(scope["litestar_app"]).caller(scope["headers"])


def _address(scope: HTTPScope) -> str:
    return scope["client"][0] if scope["client"] else ""


async def _read(
    app: AppState,
    format_: Format,
    request_id: str,
    scope: HTTPScope,
    receive: Receive,
    caller: Caller,
    body: HeldBody,
) -> ModelRequest:
    headers = scope["headers"]
    trace = None if app.tracer is None else app.tracer.begin(headers)
    controls = read_controls(headers, app.settings.cascade.max_samples)
    raw = await read_body(receive, headers, app.settings.server.max_body_bytes, body)
    return ModelRequest(
        format=format_,
        id=request_id,
        received_at=now(),
        key=caller.key,
        body=decode(raw, format_, default_name(app.settings)),
        size=len(raw),
        controls=controls,
        trace=trace,
    )


async def _run(app: AppState, request: ModelRequest, reply: AsgiReply, receive: Receive) -> None:
    """Answer the request in this task, and stop when the client leaves.

    A cancellation from outside, such as a shutdown, stops it in the same way: `answer` settles its calls first.

    Raises:
        ClientDisconnectedError: the client has left.
        ApiError: the request failed, and the client should see this error.
    """
    async with stopped_by(disconnected(receive), unless=lambda: reply.closed):
        if not request.stream:
            await answer(app, request, reply)
            return
        headers = {"x-cope-request-id": request.id, "x-request-id": request.id}
        async with kept_alive(reply, headers):
            await answer(app, request, reply)
