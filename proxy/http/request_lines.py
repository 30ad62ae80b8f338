"""The id of each request in all lines of the log, and one line a request if `logs.requests` is on."""

import logging
import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from proxy.ids import new_id
from proxy.logs import REQUEST_ID
from proxy.service.request_facts import REQUEST_FACTS

log = logging.getLogger("proxy.requests")

_FREQUENT = ("/health/live", "/health/ready", "/metrics")
"""Paths that machines call all the time. Their lines have the level `debug`."""
_LONGEST_METHOD = 10


def with_request_lines(app: ASGIApp, *, lines: bool) -> ASGIApp:
    """Give each request an id for the log. With `lines`, log each one at its end.

    A line has the template of the path, such as `/v1/spend/requests/{request_id}`, and nothing that the client wrote.
    """

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        REQUEST_ID.set(new_id("req"))
        if not lines:
            await app(scope, receive, send)
            return
        began, status, facts = time.monotonic(), 0, dict[str, Any]()
        REQUEST_FACTS.set(facts)

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, send_noted)
        finally:
            _log_request(scope, status, time.monotonic() - began, facts)

    return handler


def _log_request(scope: Scope, status: int, seconds: float, facts: dict[str, Any]) -> None:
    method = str(scope.get("method"))[:_LONGEST_METHOD]
    path = str(scope.get("path_template") or "(no such path)")
    level = logging.DEBUG if path in _FREQUENT else logging.INFO
    if not log.isEnabledFor(level):
        return
    # The status of the ledger also says that the client has left, or that a stream has failed.
    fields = {
        "method": method,
        "path": path,
        "status": status or 499,
        "duration_s": round(seconds, 4),
        **facts,
    }
    text = f"{method} {path} {fields['status']} in {seconds:.3f} s"
    if facts:
        text += (
            f", {facts['kind'] or 'no kind'}, stage {facts['stage'] or 'none'}, {facts['model'] or 'no model'}, "
            f"{facts['prompt_tokens']}+{facts['completion_tokens']} tokens, {facts['cost_usd']:.6f} USD"
        )
    log.log(level, text, extra={"fields": fields})
