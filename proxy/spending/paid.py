"""Paid calls: reserve, call, settle. Every cent that leaves goes through `paid`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from proxy.config.schema import LargeModel
from proxy.errors import ApiError, NoBudgetError, out_of_budget
from proxy.formats.base import CallLimits, Format
from proxy.ids import new_id, now
from proxy.pricing.prices import Price, Usage, cost, output_that_fits, worst_case
from proxy.records import CallRecord, Role, Stage
from proxy.service.request_log import RequestLog
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget

log = logging.getLogger(__name__)


@dataclass
class PaidCall:
    """One paid call under way. Whoever makes the call fills in what it learns; `paid` settles it."""

    id: str
    model: LargeModel
    format: Format
    deadline: float  # time.monotonic
    price: Price
    prompt_bound: int
    output: int  # the bound of everything generated, in tokens
    reserved: int
    started_at: datetime
    usage: Usage | None = None
    counted: Usage | None = None  # counted here, for an answer that broke off before its usage came
    finish_reason: str | None = None
    refused: bool = False  # the upstream answered with an error and bills nothing
    headers: dict[str, str] = field(default_factory=dict)  # of its response, for the client


@asynccontextmanager
async def paid(
    state: AppState,
    budget: RequestBudget,
    request_log: RequestLog,
    *,
    stage: Stage,
    role: Role,
    model: LargeModel,
    format_: Format,
    bound: CallLimits,
) -> AsyncIterator[PaidCall]:
    """Reserve a call's worst case, and settle it on the way out whatever happens inside.

    Where the budgets hold less, the output is bounded by what they hold, down to `bound.least` tokens: the caller
    has to send `PaidCall.output` upstream.

    Settled at the reported usage; else at what was counted; else, when nothing is known of a call that may
    have been billed, at the worst case. The last two are marked `estimated`.

    Raises:
        NoBudgetError: the worst case does not fit.
    """
    price = state.prices[model.name]
    most, least = (worst_case(price, bound.prompt, output) for output in (bound.asked, bound.least))
    deadline = request_log.clock + state.settings.server.request_timeout_s
    call = PaidCall(new_id("call"), model, format_, deadline, price, bound.prompt, bound.asked, most, now())
    call.reserved = await budget.hold(call.id, model.name, most, least)
    fits = output_that_fits(price, bound.prompt, call.reserved)
    call.output = bound.asked if fits is None else min(bound.asked, fits)
    clock = time.monotonic()
    problem: str | None = None
    try:
        yield call
    except ApiError as e:
        call.refused = not e.billed
        call.finish_reason, problem = "error", f"{e.status} {e.code or e.type}"
        raise
    except asyncio.CancelledError:
        call.finish_reason = call.finish_reason or "disconnected"
        raise
    finally:
        usage = call.usage or (Usage() if call.refused else call.counted)
        spent = call.reserved if usage is None else cost(price, usage)
        record = CallRecord(
            id=call.id,
            request_id=request_log.request.id,
            key_id=request_log.request.key_id,
            started_at=call.started_at,
            stage=stage,
            role=role,
            tier="large",
            model=model.name,
            sample=None,
            usage=usage or Usage(prompt_tokens=bound.prompt, completion_tokens=call.output),
            cost=spent,
            price=price,
            latency_ms=round((time.monotonic() - clock) * 1000),
            finish_reason=call.finish_reason,
            estimated=call.usage is None and not call.refused,
            error=problem,
            overrun=spent > call.reserved,
        )
        if record.overrun:
            log.error(
                "%s: %s ignored its bounds; %d nano-USD over", call.id, model.name, spent - call.reserved
            )
        budget.settle(record)
        request_log.calls.append(record)


def no_money(e: NoBudgetError) -> ApiError:
    """Return the error of a request that its budget stopped."""
    return out_of_budget(f"Budget exhausted: {e}. Raise the budget, or leave X-COPE-On-Budget at degrade.")
