"""Paid calls: reserve, call, settle. Every cent that leaves goes through `paid`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from proxy.backends.large import passed_on
from proxy.cascade.prompts import PLAN_ENDS, plan_in
from proxy.cascade.types import Json
from proxy.config.schema import LargeModel
from proxy.errors import ApiError, NoBudget, out_of_budget
from proxy.formats.base import Bound, Dialect
from proxy.formats.chat import Chat
from proxy.formats.sse import DONE, events
from proxy.ids import new_id, now
from proxy.pricing.prices import Price, Usage, cost, output_that_fits, worst_case
from proxy.pricing.tokens import count_text, hides_reasoning
from proxy.records import CallRecord, Role, Stage
from proxy.service.gateway import Gateway
from proxy.service.purse import Purse
from proxy.service.trace import Trace

log = logging.getLogger(__name__)

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has left: it is billed anyway."""
REASONING_ROOM = 1024
"""Tokens that a reasoning planner may think beside the guideline that it writes."""
_MAYBE_BILLED = frozenset({"upstream_timeout", "upstream_broken", "upstream_invalid"})
"""Errors after which the upstream may have generated something; after all others it has not."""
_GATEWAY_TIMEOUTS = frozenset({504, 524})
"""Somebody on the way gave up; the model behind may have gone on."""
_PLAN_FIELDS = (
    "messages",
    "reasoning_effort",
    "user",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
)


@dataclass
class PaidCall:
    """One paid call under way. Whoever makes the call fills in what it learns; `paid` settles it."""

    id: str
    model: LargeModel
    dialect: Dialect
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
    gateway: Gateway,
    purse: Purse,
    trace: Trace,
    *,
    stage: Stage,
    role: Role,
    model: LargeModel,
    dialect: Dialect,
    bound: Bound,
) -> AsyncIterator[PaidCall]:
    """Reserve a call's worst case, and settle it on the way out whatever happens inside.

    Where the budgets hold less, the output is bounded by what they hold, down to `bound.least` tokens: the caller
    has to send `PaidCall.output` upstream.

    Settled at the reported usage; else at what was counted; else, when nothing is known of a call that may
    have been billed, at the worst case. The last two are marked `estimated`.

    Raises:
        NoBudget: the worst case does not fit.
    """
    price = gateway.prices[model.name]
    most, least = (worst_case(price, bound.prompt, output) for output in (bound.asked, bound.least))
    deadline = trace.clock + gateway.settings.server.request_timeout_s
    call = PaidCall(new_id("call"), model, dialect, deadline, price, bound.prompt, bound.asked, most, now())
    call.reserved = await purse.hold(call.id, model.name, most, least)
    fits = output_that_fits(price, bound.prompt, call.reserved)
    call.output = bound.asked if fits is None else min(bound.asked, fits)
    clock = time.monotonic()
    problem: str | None = None
    try:
        yield call
    except ApiError as e:
        call.refused = not may_be_billed(e)
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
            request_id=trace.request.id,
            key_id=trace.request.key_id,
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
        purse.settle(record)
        trace.calls.append(record)


class Guide:
    """The cascade's `LargePlanner`: pays for one guideline."""

    def __init__(self, gateway: Gateway, purse: Purse, trace: Trace, model: LargeModel) -> None:
        self._gateway, self._purse, self._trace, self._model = gateway, purse, trace, model

    async def guideline(self, body: Mapping[str, Any]) -> str | None:
        """Pay for one guideline; see `proxy.cascade.protocols.LargePlanner`."""
        chat, limit = Chat(), self._gateway.settings.cascade.plan_max_tokens
        asked, limit = plan_request(self._model.id, body, limit)
        prompt = await asyncio.to_thread(chat.count, self._model.id, asked)
        # Whole or not at all: half a guideline is none.
        bound = Bound(limit, limit, "max_completion_tokens", prompt=prompt)
        try:
            async with paid(
                self._gateway, self._purse, self._trace,
                stage=2, role="planner", model=self._model, dialect=chat, bound=bound,
            ) as call:  # fmt: skip
                answer = msgspec.json.decode(await complete(self._gateway, call, bound.within(asked, limit)))
        except ApiError:
            return None  # stage 3 follows without it; should the upstream be down, that call says so
        written = answer["choices"][0]["message"].get("content") or ""
        return plan_in(written) or ("" if written.strip() else None)


def plan_request(model: str, body: Json, limit: int) -> tuple[dict[str, Any], int]:
    """Return what is asked of a planner, and its output bound in tokens, what it thinks unseen included."""
    asked = {k: body[k] for k in _PLAN_FIELDS if k in body}
    if not hides_reasoning(model, asked):
        return asked | {"stop": [PLAN_ENDS]}, limit
    asked.setdefault("reasoning_effort", "low")
    return asked, limit + REASONING_ROOM


@asynccontextmanager
async def _post(
    gateway: Gateway, call: PaidCall, body: Mapping[str, Any]
) -> AsyncIterator[aiohttp.ClientResponse]:
    sent = {k: v for k, v in call.dialect.outgoing(body).items() if k != "models"} | {"model": call.model.id}
    upstream = gateway.upstreams[call.model.upstream]
    async with upstream.post(call.dialect.path, sent, call.deadline) as response:
        call.headers = passed_on(response)
        yield response


async def complete(gateway: Gateway, call: PaidCall, body: Mapping[str, Any]) -> bytes:
    """Make one unstreamed call; return the response's bytes, with the usage noted in `call`.

    A cancelled call gets `DRAIN_S` to report its usage.

    Raises:
        ApiError: what the client should see.
    """

    async def fetch() -> bytes:
        async with _post(gateway, call, body) as response:
            raw = await response.read()
        try:
            call.usage, call.finish_reason, generated = call.dialect.whole(msgspec.json.decode(raw))
            if call.usage is None:
                call.counted = Usage(await _prompt(call, body), count_text(call.model.id, generated))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            raise ApiError(
                502,
                "The upstream's answer is not what this endpoint gives.",
                "server_error",
                "upstream_invalid",
            ) from e
        return raw

    task = asyncio.ensure_future(fetch())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=DRAIN_S)
        raise
    except (aiohttp.ClientError, OSError) as e:
        raise ApiError(502, "The upstream broke off its answer.", "server_error", "upstream_broken") from e
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stream(
    gateway: Gateway, call: PaidCall, body: Mapping[str, Any]
) -> AsyncIterator[tuple[bytes, dict[str, Any]]]:
    """Make one streamed call; yield each chunk as its bytes and decoded, usage noted in `call`.

    The upstream is read by a task of its own, so that a client that leaves does not cut it off before
    `DRAIN_S`; the queue between them is short, so that a slow client holds no memory.

    Raises:
        ApiError: what the client should see.
    """
    total = call.dialect.tally()
    done = False
    queue: asyncio.Queue[tuple[bytes, dict[str, Any]] | None] = asyncio.Queue(16)
    reader_left = asyncio.Event()

    async def pump() -> None:
        nonlocal done
        try:
            async with _post(gateway, call, body) as response:
                async for data in events(response.content):
                    if data == DONE:
                        done = True
                        break
                    item = (data, total.add(data))
                    if not reader_left.is_set():
                        await queue.put(item)
        finally:
            if not reader_left.is_set():
                await queue.put(None)

    task = asyncio.ensure_future(pump())
    try:
        while (item := await queue.get()) is not None:
            yield item
        await task
        if not done and not total.complete and total.error is None:
            raise ApiError(502, "The upstream broke off its stream.", "server_error", "upstream_broken")
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise ApiError(502, "The upstream broke off its stream.", "server_error", "upstream_broken") from e
    finally:
        reader_left.set()
        while not queue.empty():
            queue.get_nowait()
        await asyncio.wait({task}, timeout=DRAIN_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        call.usage = total.usage
        call.finish_reason = total.finish_reason or call.finish_reason
        if total.usage is None and (total.chunks or total.finish_reason):
            visible = max(total.chunks, count_text(call.model.id, total.generated))
            # What was thought before the first visible token is billed and cannot be counted from here.
            hidden = not total.complete and hides_reasoning(call.model.id, body)
            output = call.output if hidden else min(visible, call.output)
            call.counted = Usage(await _prompt(call, body), output)


async def _prompt(call: PaidCall, body: Mapping[str, Any]) -> int:
    """Count a prompt whose usage was not reported, within the bound that was reserved."""
    return min(call.prompt_bound, await asyncio.to_thread(call.dialect.count, call.model.id, body))


def may_be_billed(e: ApiError) -> bool:
    """Whether the upstream may have generated something before the error."""
    return e.code in _MAYBE_BILLED or e.status in _GATEWAY_TIMEOUTS


def no_money(e: NoBudget) -> ApiError:
    """Return the error of a request that its budget stopped."""
    return out_of_budget(f"Budget exhausted: {e}. Raise the budget, or leave X-COPE-On-Budget at degrade.")
