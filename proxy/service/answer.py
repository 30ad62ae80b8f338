"""The life of one request: admit it, answer it, and hand its record to the hooks."""

import asyncio

from proxy.cascade.types import Accepted
from proxy.errors import NO_RETRY, ApiError, NoBudgetError, request_timeout
from proxy.service.access import reachable
from proxy.service.admission import admit, require_ledger
from proxy.service.conversations import recall
from proxy.service.exchange import Exchange
from proxy.service.finished import finish
from proxy.service.hooks import run_hooks
from proxy.service.local import decide_locally, local_only
from proxy.service.local_answer import answer_locally, degrade
from proxy.service.ownership import require_own_objects
from proxy.service.payment import budget_of, spending_of
from proxy.service.reply import Reply
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.routing import Route, choose_route
from proxy.service.stage3 import answer_with_large
from proxy.service.state import AppState


async def answer(state: AppState, request: ModelRequest, reply: Reply) -> None:
    """Answer one request, and run the hooks however it ends.

    When the client leaves, the caller cancels this coroutine. The small model's samples stop at once, a paid call
    gets a moment to report its usage and is settled, and the hooks still run.

    Raises:
        ApiError: the request failed, and the client should see this error. A stream may have begun.
    """
    # A request that is refused by these lines leaves no row in the ledger.
    allowed = None if request.key is None else reachable(state.settings, request.key.rules)
    route = choose_route(state.settings, request.body, request.controls.mode, allowed)
    require_ledger(state)
    request_log = RequestLog(request=request, route=route, config=state.config)
    state.under_way.begin(request_log)
    try:
        async with asyncio.timeout(state.settings.server.request_timeout_s):
            exchange = await _open_exchange(state, request, route, request_log, reply)
            await _run_stages(exchange)
    except TimeoutError:
        request_log.note_error(504, "request_timeout")
        error = request_timeout()
        error.headers = _forbid_retry_if_paid(request_log)
        raise error from None
    except ApiError as e:
        request_log.note_error(e.status, e.code or e.type)
        e.headers = {**e.headers, **_forbid_retry_if_paid(request_log)}
        raise
    except asyncio.CancelledError:
        request_log.note_error(499, "client_disconnected")
        raise
    except Exception:
        request_log.note_error(500, "internal_error")
        raise
    finally:
        state.under_way.end(request_log)
        run_hooks(state.hooks, finish(request_log))


async def _open_exchange(
    state: AppState, request: ModelRequest, route: Route, request_log: RequestLog, reply: Reply
) -> Exchange:
    """Admit the request, fill in its conversation, and open its budgets."""
    await admit(state, request, route)
    await require_own_objects(state, request)
    body, context_tokens = await recall(state, request)
    budget = budget_of(state, request)
    await budget.open()
    return Exchange(
        state=state,
        request=request,
        route=route,
        budget=budget,
        spending=spending_of(state, request_log, budget),
        request_log=request_log,
        reply=reply,
        body=body,
        context_tokens=context_tokens,
    )


async def _run_stages(exchange: Exchange) -> None:
    """Answer with the small model if it is sure, otherwise with the large one.

    If the request must stay local, or no budget covers the large model, send the best local answer.
    """
    decision = await decide_locally(exchange)
    if not isinstance(decision, Accepted) and not local_only(exchange):
        try:
            await answer_with_large(exchange, decision)
            return
        except NoBudgetError as e:
            decision = degrade(exchange, decision, e)
    await answer_locally(exchange, decision)


def _forbid_retry_if_paid(request_log: RequestLog) -> dict[str, str]:
    """Return the header that keeps an SDK from retrying by itself, if the request has cost money."""
    return dict(NO_RETRY) if request_log.cost else {}
