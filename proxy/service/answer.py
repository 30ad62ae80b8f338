"""One request to a model, from its admission to its row in the ledger."""

import asyncio
import logging

from proxy.cascade.types import Escalated, TaskKind
from proxy.errors import (
    NO_RETRY,
    ApiError,
    NoBudgetError,
    unavailable,
)
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


async def answer(gateway: AppState, request: ModelRequest, reply: Reply) -> None:
    """Answer one request and account for it, whatever happens on the way.

    Cancelling this coroutine (the client has left) stops the local samples at once, gives a paid call a
    moment to report its usage, and still writes the row.

    Raises:
        ApiError: no answer has been sent yet and the client should see this error.
    """
    settings = gateway.settings
    way = route(settings, request.body, request.controls.mode)
    if gateway.writer.full and settings.ledger.on_outage == "refuse":
        raise unavailable(
            "The ledger cannot be written at present.", code="ledger_unavailable", retry_after_s=5
        )
    trace = RequestLog(request, way.mode if request.audits is None else "audit")
    purse = RequestBudget(gateway, request)
    try:
        async with asyncio.timeout(settings.server.request_timeout_s):
            await admit(gateway, request, way)
            body, context = await recall(gateway, request)
            await purse.open()
            work = Exchange(gateway, request, way, purse, trace, body, context)
            decision = await decide_locally(work)
            if isinstance(decision, Escalated) and not local_only(work):
                try:
                    await answer_with_large(work, decision, reply)
                    return
                except NoBudgetError as e:
                    decision = degrade(work, decision, e)
            await answer_locally(work, decision, reply)
    except TimeoutError:
        trace.status, trace.error = 504, "request_timeout"
        raise ApiError(
            504, "The request took too long.", "server_error", "request_timeout", headers=_retry(trace)
        ) from None
    except ApiError as e:
        trace.status, trace.error = e.status, e.code or e.type
        e.headers = {**e.headers, **_retry(trace)}
        raise
    except asyncio.CancelledError:
        trace.status, trace.error = 499, "client_disconnected"
        raise
    except Exception:
        trace.status, trace.error = 500, "internal_error"
        raise
    finally:
        _write(gateway, trace)
        if trace.task and undecided(settings.cascade, TaskKind(trace.task), request.controls):
            learn(gateway.guidelines, trace, way.large.name)


def _retry(trace: RequestLog) -> dict[str, str]:
    """An error after money was spent must not make an SDK spend it again by itself."""
    return dict(NO_RETRY) if trace.cost else {}


def _write(gateway: AppState, trace: RequestLog) -> None:
    store = gateway.settings.ledger.store_content
    plans = trace.plan_records() if store else []
    gateway.writer.submit_end(trace.record(store_content=store), *trace.voted_calls(), *plans)
