"""Paid calls: reserve, call, settle. Every cent that leaves goes through `paid`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from proxy.backends.sse import DONE, Accumulator, events
from proxy.errors import ApiError, NoBudget, out_of_budget
from proxy.pricing.prices import Price, Usage, cost, output_that_fits, worst_case
from proxy.pricing.tokens import count_text, hides_reasoning, prompt_bound, usage_from
from proxy.records import CallRecord, Role, Stage
from proxy.service.gateway import Gateway
from proxy.service.ids import new_id
from proxy.service.purse import Purse
from proxy.service.trace import Trace, now

log = logging.getLogger(__name__)

DRAIN_S = 0.8
"""How long a paid call may still report its usage after its client has left: it is billed anyway."""
LEAST_USEFUL_OUTPUT = 64
"""Tokens below which an answer cut to fit a budget is of no use."""
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
    model: str
    price: Price
    prompt_bound: int
    output: int  # the bound of everything generated, in tokens
    reserved: int
    started_at: datetime
    usage: Usage | None = None
    counted: Usage | None = None  # counted here, for an answer that broke off before its usage came
    finish_reason: str | None = None
    refused: bool = False  # the upstream answered with an error and bills nothing


@asynccontextmanager
async def paid(
    gateway: Gateway,
    purse: Purse,
    trace: Trace,
    *,
    stage: Stage,
    role: Role,
    model: str,
    bound: int,
    output: int,
    least: int | None = None,
) -> AsyncIterator[PaidCall]:
    """Reserve a call's worst case, and settle it on the way out whatever happens inside.

    Where the budgets hold less, the output is bounded by what they hold, down to `least` tokens: the caller has
    to send `PaidCall.output` upstream.

    Settled at the reported usage; else at what was counted; else, when nothing is known of a call that may
    have been billed, at the worst case. The last two are marked `estimated`.

    Raises:
        NoBudget: the worst case does not fit.
    """
    price = gateway.prices[model]
    most = worst_case(price, bound, output)
    call = PaidCall(new_id("call"), model, price, bound, output, most, now())
    call.reserved = await purse.hold(
        call.id, model, most, most if least is None else worst_case(price, bound, least)
    )
    fits = output_that_fits(price, bound, call.reserved)
    call.output = output if fits is None else min(output, fits)
    clock = time.monotonic()
    problem: str | None = None
    try:
        yield call
    except ApiError as e:
        call.refused = e.code not in _MAYBE_BILLED and e.status not in _GATEWAY_TIMEOUTS
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
            model=model,
            sample=None,
            usage=usage or Usage(prompt_tokens=bound, completion_tokens=call.output),
            cost=spent,
            price=price,
            latency_ms=round((time.monotonic() - clock) * 1000),
            finish_reason=call.finish_reason,
            estimated=call.usage is None and not call.refused,
            error=problem,
            overrun=spent > call.reserved,
        )
        if record.overrun:
            log.error("%s: %s ignored its bounds; %d nano-USD over", call.id, model, spent - call.reserved)
        purse.settle(record)
        trace.calls.append(record)


class Guide:
    """The cascade's `LargePlanner`: pays for one guideline."""

    def __init__(self, gateway: Gateway, purse: Purse, trace: Trace, model: str) -> None:
        self._gateway, self._purse, self._trace, self._model = gateway, purse, trace, model

    async def guideline(self, body: Mapping[str, Any]) -> str | None:
        """Pay for one guideline; see `proxy.cascade.types.LargePlanner`."""
        limit = self._gateway.settings.cascade.plan_max_tokens
        asked = {k: body[k] for k in _PLAN_FIELDS if k in body} | {
            "model": self._model,
            "max_completion_tokens": limit,
        }
        bound = await asyncio.to_thread(prompt_bound, self._model, asked)
        try:
            async with paid(
                self._gateway, self._purse, self._trace,
                stage=2, role="planner", model=self._model, bound=bound, output=limit,
            ) as call:  # fmt: skip
                raw = await complete(self._gateway, call, asked)
        except ApiError:
            return None  # stage 3 follows without it; should the upstream be down, that call says so
        text = msgspec.json.decode(raw)["choices"][0]["message"].get("content") or ""
        return " ".join(text.split()) or None


async def complete(gateway: Gateway, call: PaidCall, body: Mapping[str, Any]) -> bytes:
    """Make one unstreamed call; return the response's bytes, with the usage noted in `call`.

    A cancelled call gets `DRAIN_S` to report its usage.

    Raises:
        ApiError: what the client should see.
    """

    async def fetch() -> bytes:
        async with gateway.large.post(body) as response:
            raw = await response.read()
        try:
            decoded = msgspec.json.decode(raw)
            call.finish_reason = decoded["choices"][0].get("finish_reason")
            call.usage = usage_from(decoded["usage"]) if decoded.get("usage") else None
            if call.usage is None:
                message = msgspec.json.encode([c.get("message") for c in decoded["choices"]]).decode()
                call.counted = Usage(call.prompt_bound, count_text(call.model, message))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            raise ApiError(
                502, "The upstream's answer is not a chat completion.", "server_error", "upstream_invalid"
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
    total = Accumulator()
    queue: asyncio.Queue[tuple[bytes, dict[str, Any]] | None] = asyncio.Queue(16)
    reader_left = asyncio.Event()

    async def pump() -> None:
        try:
            async with gateway.large.post(body) as response:
                async for data in events(response.content):
                    if data == DONE:
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
        if total.finish_reason is None and total.error is None:
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
        if total.chunks or total.finish_reason:
            called = msgspec.json.encode(total.tool_calls).decode() if total.tool_calls else ""
            generated = total.text + called
            visible = max(total.chunks, count_text(call.model, generated))
            # What was thought before the first visible token is billed and cannot be counted from here.
            hidden = total.finish_reason is None and hides_reasoning(call.model, body)
            call.counted = Usage(call.prompt_bound, call.output if hidden else min(visible, call.output))


@dataclass(frozen=True, slots=True)
class Bounded:
    """A stage-3 body and the bounds that its reservation needs (tokens)."""

    body: dict[str, Any]
    field: str  # that bounds the output of each choice
    choices: int
    prompt: int
    asked: int  # of all choices together
    least: int  # likewise: an answer cut shorter than that is of no use

    def within(self, output: int) -> dict[str, Any]:
        """Return the body with its output bounded by `output` tokens in all."""
        return self.body | {self.field: output // self.choices}


async def bound_answer(
    gateway: Gateway, body: dict[str, Any], model: str, size: int, *, limited: bool
) -> Bounded:
    """Bound a full answer by the client's own limit, else the config's.

    Args:
        gateway: whose settings hold.
        body: the request's body, guideline included.
        model: the large model.
        size: bytes of the client's body.
        limited: whether a budget may apply; without one, bytes are bound enough and cost nothing to count.
    """
    field = (
        "max_tokens"
        if body.get("max_tokens") and not body.get("max_completion_tokens")
        else "max_completion_tokens"
    )
    asked = body.get(field) or gateway.settings.large.max_output_tokens
    choices = body.get("n") or 1
    out = {**body, "model": model}
    if out.get("stream"):
        out["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    prompt = (
        await asyncio.to_thread(prompt_bound, model, out)
        if limited
        else size + len(str(body.get("messages", "")))
    )
    return Bounded(out, field, choices, prompt, asked * choices, min(asked, LEAST_USEFUL_OUTPUT) * choices)


def no_money(e: NoBudget) -> ApiError:
    """Return the error of a request that its budget stopped."""
    return out_of_budget(f"Budget exhausted: {e}. Raise the budget, or leave X-COPE-On-Budget at degrade.")
