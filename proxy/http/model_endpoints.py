"""The model endpoints under /v1 as a raw ASGI route: the hot path, and the only way to own its cleanup.

Litestar does not reliably clean up a streaming generator when the client drops (litestar-org/litestar#3772),
so the request runs in a task of its own, which is cancelled when the client leaves.
"""

import asyncio
import logging

from litestar import asgi
from litestar.types import Receive, Scope, Send

from proxy.errors import ApiError
from proxy.formats.base import Format
from proxy.formats.chat import Chat
from proxy.formats.completions import Completions
from proxy.formats.embeddings import Embeddings
from proxy.formats.responses import Responses
from proxy.http.asgi_reply import AsgiReply
from proxy.http.auth import authenticate
from proxy.http.body import ClientDisconnectedError, decode, read_body
from proxy.http.control_headers import read_controls
from proxy.ids import new_id, now
from proxy.service.answer import answer
from proxy.service.request import ModelRequest
from proxy.service.state import AppState

log = logging.getLogger(__name__)

FORMATS: dict[str, Format] = {f"/v1{d.path}": d for d in (Chat(), Responses(), Completions(), Embeddings())}


@asgi(list(FORMATS))
async def model_endpoints(scope: Scope, receive: Receive, send: Send) -> None:
    """Read, admit and answer one request to a model."""
    gateway: AppState = scope["litestar_app"].state.gateway
    format_ = FORMATS[scope["path"].rstrip("/")]
    reply = AsgiReply(send)
    request_id = new_id("req")
    try:
        request = await _admit(gateway, format_, request_id, scope, receive)
        await _run(gateway, request, reply, receive)
    except ClientDisconnectedError:
        return
    except ApiError as e:
        tagged = {"x-request-id": request_id, **e.headers, "x-cope-request-id": request_id}
        error = ApiError(e.status, e.message, e.type, e.code, e.param, tagged)
        await reply.error(error, named=format_.named_events)
    except Exception:
        log.exception("request %s failed", request_id)
        error = ApiError(
            500, f"Internal error; quote {request_id}.", type="server_error", code="internal_error"
        )
        await reply.error(error, named=format_.named_events)


async def _admit(
    gateway: AppState, format_: Format, request_id: str, scope: Scope, receive: Receive
) -> ModelRequest:
    method = str(scope.get("method"))
    if method != "POST":
        raise ApiError(
            405,
            f"Method {method} is not allowed here; use POST.",
            code="method_not_allowed",
            headers={"allow": "POST"},
        )
    headers = scope["headers"]
    raw = await read_body(receive, gateway.settings.server.max_body_bytes)
    caller = await authenticate(scope["litestar_app"].state, headers)
    controls = read_controls(headers, gateway.settings.cascade.max_samples)
    return ModelRequest(
        format=format_,
        id=request_id,
        received_at=now(),
        key=caller.key,
        body=decode(raw, format_),
        size=len(raw),
        controls=controls,
    )


async def _run(gateway: AppState, request: ModelRequest, reply: AsgiReply, receive: Receive) -> None:
    """Run the request beside a watch for the client's departure, which cancels it."""
    work = asyncio.ensure_future(answer(gateway, request, reply))
    beside = {asyncio.ensure_future(_departure(receive))}
    if request.stream:
        beside.add(
            asyncio.ensure_future(
                reply.keep_alive({"x-cope-request-id": request.id, "x-request-id": request.id})
            )
        )
    try:
        await asyncio.wait({work, *beside}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    finally:
        # Cancelled from outside (shutdown): the work must still settle.
        work.cancel()
        for task in beside:
            task.cancel()
        await asyncio.gather(work, *beside, return_exceptions=True)
    if work.cancelled():
        raise ClientDisconnectedError
    work.result()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
