"""One request to a model, from its admission to its row in the ledger."""

import asyncio
import logging

from proxy.cascade.types import Escalated, TaskKind
from proxy.errors import NO_RETRY, ApiError, NoBudgetError, ledger_unavailable, request_timeout
from proxy.service.admission import admit
from proxy.service.conversations import recall
from proxy.service.exchange import Exchange
from proxy.service.guideline_value import learn, undecided
from proxy.service.local import answer_locally, decide_locally, degrade, local_only
from proxy.service.reply import Reply
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.routing import route
from proxy.service.stage3 import answer_with_large
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget

log = logging.getLogger(__name__)


async def answer(state: AppState, request: ModelRequest, reply: Reply) -> None:
    """Answer one request and account for it, whatever happens on the way.

    Cancelling this coroutine (the client has left) stops the local samples at once, gives a paid call a
    moment to report its usage, and still writes the row.

    Raises:
        ApiError: no answer has been sent yet and the client should see this error.
    """
    settings = state.settings
    way = route(settings, request.body, request.controls.mode)
    if state.writer.full and settings.ledger.on_outage == "refuse":
        raise ledger_unavailable()
    request_log = RequestLog(request, way.mode if request.audits is None else "audit")
    budget = RequestBudget(state, request)
    try:
        async with asyncio.timeout(settings.server.request_timeout_s):
            await admit(state, request, way)
            body, context = await recall(state, request)
            await budget.open()
            exchange = Exchange(state, request, way, budget, request_log, body, context)
            decision = await decide_locally(exchange)
            if isinstance(decision, Escalated) and not local_only(exchange):
                try:
                    await answer_with_large(exchange, decision, reply)
                    return
                except NoBudgetError as e:
                    decision = degrade(exchange, decision, e)
            await answer_locally(exchange, decision, reply)
    except TimeoutError:
        request_log.status, request_log.error = 504, "request_timeout"
        error = request_timeout()
        error.headers = _retry(request_log)
        raise error from None
    except ApiError as e:
        request_log.status, request_log.error = e.status, e.code or e.type
        e.headers = {**e.headers, **_retry(request_log)}
        raise
    except asyncio.CancelledError:
        request_log.status, request_log.error = 499, "client_disconnected"
        raise
    except Exception:
        request_log.status, request_log.error = 500, "internal_error"
        raise
    finally:
        _write(state, request_log)
        if request_log.task and undecided(settings.cascade, TaskKind(request_log.task), request.controls):
            learn(state.guidelines, request_log, way.large.name)


def _retry(request_log: RequestLog) -> dict[str, str]:
    """An error after money was spent must not make an SDK spend it again by itself."""
    return dict(NO_RETRY) if request_log.cost else {}


def _write(state: AppState, request_log: RequestLog) -> None:
    store = state.settings.ledger.store_content
    plans = request_log.plan_records() if store else []
    state.writer.submit_end(request_log.record(store_content=store), *request_log.voted_calls(), *plans)
