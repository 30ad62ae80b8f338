"""The typed values that route handlers take as parameters.

`app` and `callers` are set once per process, `caller` is found for each request. Litestar keeps its own state untyped,
so the two functions at the top are the only places that read it.
"""

from typing import Any

from litestar import Litestar, Request
from litestar.di import Provide

from proxy.http.auth import Authenticator, Caller
from proxy.http.ledger_metrics import LedgerFigures
from proxy.service.state import AppState


def app_state(litestar: Litestar) -> AppState:
    """Return the parts that all requests of this process share."""
    opened: AppState = litestar.state.opened
    return opened


def authenticator(litestar: Litestar) -> Authenticator:
    """Return this process's authenticator."""
    callers: Authenticator = litestar.state.callers
    return callers


def set_state(litestar: Litestar, opened: AppState) -> None:
    """Make the opened state available to all handlers, from their next request on."""
    litestar.state.opened = opened
    callers: Authenticator | None = litestar.state.get("callers")
    if callers is None:
        litestar.state.callers = Authenticator(opened)
    else:
        callers.use(opened)
    litestar.state.ledger = LedgerFigures(opened)


def _app(request: Request[Any, Any, Any]) -> AppState:
    return app_state(request.app)


def _callers(request: Request[Any, Any, Any]) -> Authenticator:
    return authenticator(request.app)


def _ledger(request: Request[Any, Any, Any]) -> LedgerFigures:
    ledger: LedgerFigures = request.app.state.ledger
    return ledger


async def _caller(request: Request[Any, Any, Any]) -> Caller:
    return await authenticator(request.app).caller(request.scope["headers"])


DEPENDENCIES = {
    "app": Provide(_app, sync_to_thread=False),
    "callers": Provide(_callers, sync_to_thread=False),
    "ledger": Provide(_ledger, sync_to_thread=False),
    "caller": Provide(_caller),
}
