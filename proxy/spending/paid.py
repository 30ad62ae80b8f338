"""Paid calls: reserve, call, settle. All money that is spent goes through `paid`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from proxy.backends.session import Delivery
from proxy.backends.upstream import Upstream
from proxy.concurrency import BusyTime
from proxy.config.schema import LargeModel
from proxy.errors import ApiError, NoBudgetError
from proxy.formats.base import CallLimits, Format
from proxy.ids import new_id, now
from proxy.pricing.prices import Price, Usage, output_that_fits, worst_case
from proxy.pricing.tiers import billed_list, booked, served
from proxy.records import CallRecord, Role, Stage
from proxy.spending.budget import Budget
from proxy.tracing.trace import Trace, begin_call

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The parts that every paid call of one request needs."""

    prices: Mapping[str, Price]
    """By the name of the large model."""
    upstreams: Mapping[str, Upstream]
    """By the name of the upstream. The name of `[large]` is empty."""
    budget: Budget
    request_id: str
    key_id: str | None
    deadline: float
    """When the request times out (`time.monotonic`)."""
    task: Callable[[], str | None] = lambda: None
    """Return the kind of the request's task, as far as it is known."""
    model_time: BusyTime = field(default_factory=BusyTime)
    """The time with a model call under way."""
    calls: list[CallRecord] = field(default_factory=list)
    """The records of all calls that are settled."""
    trace: Trace | None = None


@dataclass(kw_only=True)
class PaidCall:
    """One paid call in progress. `complete` and `stream` fill in its result, and `paid` settles it."""

    id: str
    model: LargeModel
    upstream: Upstream
    format: Format
    deadline: float  # time.monotonic
    prompt_limit: int
    output: int  # the limit of all generated tokens
    reserved: int
    started_at: datetime
    choices: int = 1
    began: float = field(default_factory=time.monotonic)
    delivery: Delivery = field(default_factory=Delivery)
    usage: Usage | None = None
    counted: Usage | None = None  # the proxy's own count or estimate, if no usage is reported
    finish_reason: str | None = None
    refused: bool = False  # the upstream answered with an error and bills nothing
    headers: dict[str, str] = field(default_factory=dict)  # of its response, for the client
    trace_headers: Mapping[str, str] = field(default_factory=dict)  # of its request

    @property
    def known_usage(self) -> Usage | None:
        """The reported usage, or else the counted one: `None` if neither is known, and zero for a refused call."""
        return self.usage or (Usage() if self.refused else self.counted)

    @property
    def billed(self) -> bool:
        """Whether the upstream may bill the call. It bills no fee either for a refused call, or where all calls are free."""
        return not (self.format.is_free or (self.refused and self.usage is None))


@asynccontextmanager
async def paid(
    spending: Spending, *, stage: Stage, role: Role, model: LargeModel, format_: Format, limits: CallLimits
) -> AsyncIterator[PaidCall]:
    """Reserve the worst case of a call. Settle it on exit, however the block ends.

    If the budgets have less left, the output limit shrinks to fit, but never below `limits.least` tokens. The caller has
    to send `PaidCall.output` upstream.

    A call is settled at the reported usage. If there is none, it is settled at the counted or estimated usage. If nothing
    is known and the upstream may bill it, it is settled at the worst case. The last two are marked `estimated`.

    Raises:
        NoBudgetError: not even `limits.least` tokens fit, and nothing is reserved.
        ApiError: the reservation cannot be written.
    """
    price = spending.prices[model.name]
    bound = price.bound(limits.tier)
    id_, started_at = new_id("call"), now()
    reserved, limits = await _reserve(spending, id_, model, limits)
    call = PaidCall(
        id=id_,
        model=model,
        upstream=spending.upstreams[model.upstream],
        format=format_,
        deadline=spending.deadline,
        prompt_limit=limits.prompt,
        output=_output(bound, limits, reserved),
        reserved=reserved,
        started_at=started_at,
        choices=limits.choices,
        trace_headers=begin_call(spending.trace, id_),
    )
    problem: str | None = None
    try:
        if call.output < limits.asked and limits.count is not None:
            call.refused = True  # nothing is sent yet, so nothing is billed if this does not end
            limits = await limits.counted()  # the same money buys more output
            call.prompt_limit, call.output = limits.prompt, _output(bound, limits, reserved)
            call.refused = False
        with spending.model_time.running():
            yield call
    except ApiError as e:
        call.refused = not e.billed
        call.finish_reason, problem = "error", f"{e.status} {e.code or e.type}"
        raise
    except asyncio.CancelledError:
        call.finish_reason = call.finish_reason or "disconnected"
        raise
    finally:
        usage = served(call.known_usage, limits.tier, price)
        billed_price = billed_list(price, spending.prices[model.name], usage, counted=call.usage is None)
        most = call.reserved
        if usage is None and limits.count is not None:
            with suppress(Exception, asyncio.CancelledError):  # the settlement comes in any case
                limits = await limits.counted()
                most = min(most, worst_case(bound, limits.prompt, call.output))
        spent = 0 if not call.billed else most if usage is None else booked(billed_price, usage)
        record = CallRecord(
            id=call.id,
            request_id=spending.request_id,
            key_id=spending.key_id,
            started_at=call.started_at,
            stage=stage,
            role=role,
            tier="large",
            model=model.name,
            sample=None,
            usage=usage or Usage(prompt_tokens=limits.prompt, completion_tokens=call.output),
            cost=spent,
            price=billed_price,
            latency_ms=round((time.monotonic() - call.began) * 1000),
            finish_reason=call.finish_reason,
            estimated=(call.usage is None and not call.refused)
            or (usage is not None and usage.charged is None and price.guesses(usage)),
            error=problem,
            task=spending.task(),
            overrun=spent > call.reserved,
        )
        if record.overrun:
            over = spent - call.reserved
            log.error(
                "%s: %s ignored its limits; the call cost %d nano-USD too much", call.id, model.name, over
            )
        spending.budget.settle(record)
        spending.calls.append(record)


async def _reserve(
    spending: Spending, call_id: str, model: LargeModel, limits: CallLimits
) -> tuple[int, CallLimits]:
    """Reserve the worst case of a call. If the bytes of its prompt do not fit, count its tokens.

    Return the reserved amount and the limits that hold.
    """
    price = spending.prices[model.name].bound(limits.tier)
    while True:
        most, least = (worst_case(price, limits.prompt, output) for output in (limits.asked, limits.least))
        try:
            return await spending.budget.reserve(call_id, model.name, most, least), limits
        except NoBudgetError:
            if limits.count is None:
                raise
        limits = await limits.counted()


def _output(price: Price, limits: CallLimits, reserved: int) -> int:
    """Return the output limit that a reserved amount pays for."""
    fits = output_that_fits(price, limits.prompt, reserved)
    return limits.asked if fits is None else min(limits.asked, fits)
