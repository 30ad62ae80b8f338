"""One chat completion, from its admission to its row in the ledger."""

import asyncio
import logging
from typing import Any

import msgspec

from proxy.cascade import prompts, tasks
from proxy.cascade.capability import small_body, unserved
from proxy.cascade.confidence import ESTIMATORS
from proxy.cascade.engine import decide
from proxy.cascade.types import Accepted, Escalated, MissingLogprobs, SmallRequest, Task
from proxy.errors import ApiError, NoBudget, SmallRefused, SmallUnavailable, bad_request, unavailable
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_prompt, count_text
from proxy.service import replies
from proxy.service.admission import admit
from proxy.service.gateway import Gateway
from proxy.service.large import Guide, PaidCall, bound_answer, complete, no_money, paid, stream
from proxy.service.purse import Purse
from proxy.service.replies import Reply
from proxy.service.request import ChatRequest, Route, policy, route
from proxy.service.small import RecordedSmall
from proxy.service.trace import Trace

log = logging.getLogger(__name__)


async def chat(gateway: Gateway, request: ChatRequest, reply: Reply) -> None:
    """Answer one request and account for it, whatever happens on the way.

    Cancelling this coroutine (the client has left) stops the local samples at once, gives a paid call a
    moment to report its usage, and still writes the row.

    Raises:
        ApiError: nothing has been sent yet and the client should see this error.
    """
    settings = gateway.settings
    way = route(settings, request.body["model"], request.controls.mode)
    if gateway.writer.full and settings.ledger.on_outage == "refuse":
        raise unavailable(
            "The ledger cannot be written at present.", code="ledger_unavailable", retry_after_s=5
        )
    trace = Trace(request, way.mode)
    purse = Purse(gateway, request)
    try:
        async with asyncio.timeout(settings.server.request_timeout_s):
            await admit(gateway, request, way)
            await purse.open()
            decision = await _decide(gateway, request, way, purse, trace)
            if isinstance(decision, Escalated) and way.mode != "small" and request.controls.max_stage == 3:
                try:
                    await _pay(gateway, request, way, purse, trace, decision, reply)
                    return
                except NoBudget as e:
                    decision = _degrade(request, trace, decision, e)
            await _answer_locally(gateway, request, way, purse, trace, decision, reply)
    except TimeoutError:
        trace.status, trace.error = 504, "request_timeout"
        raise ApiError(
            504, "The request took too long.", type="server_error", code="request_timeout"
        ) from None
    except ApiError as e:
        trace.status, trace.error = e.status, e.code or e.type
        raise
    except asyncio.CancelledError:
        trace.status, trace.error = 499, "client_disconnected"
        raise
    except Exception:
        trace.status, trace.error = 500, "internal_error"
        raise
    finally:
        _write(gateway, trace)


async def _decide(
    gateway: Gateway, request: ChatRequest, way: Route, purse: Purse, trace: Trace
) -> Accepted | Escalated:
    """Let the small tier try; an `Escalated` says that it could not answer, or was not asked."""
    if way.mode == "large":
        return Escalated()
    settings, controls = gateway.settings, request.controls
    task = tasks.detect(request.body)
    if controls.task is not None:
        task = Task(controls.task, task.body, task.text)
    trace.task = task.kind.value
    local_only = way.mode == "small" or controls.max_stage < 3
    trace.reason = unserved(request.body, tools=settings.small.tools)
    if trace.reason is None and not gateway.small.available:
        trace.reason = await _small_away(gateway, local_only=local_only)
    small = RecordedSmall(gateway, trace)
    if trace.reason is None:
        try:
            if way.mode == "small":
                body = {"messages": request.body["messages"], **_client_sampling(request.body)}
                body |= small_body(request.body, settings.small.max_output_tokens)
                return Accepted(1, await small.generate(SmallRequest(1, "executor", 0, body)), 1.0)
            return await decide(
                task,
                policy(settings.cascade, task.kind, controls),
                ESTIMATORS[task.kind],
                small,
                Guide(gateway, purse, trace, way.large_model),
                trace.story,
                settings.small.max_output_tokens,
            )
        except (SmallRefused, SmallUnavailable) as e:
            trace.reason = str(e)
        except MissingLogprobs:
            trace.reason = "the small model sends no log-probabilities"
    if local_only:
        raise bad_request(
            f"The small model cannot serve this request ({trace.reason}), and X-COPE-Mode or X-COPE-Max-Stage "
            "forbid the large one.",
            code="small_model_cannot_serve",
        )
    return Escalated()


def _client_sampling(body: Any) -> dict[str, Any]:
    return {k: body[k] for k in ("temperature",) if body.get(k) is not None}


async def _small_away(gateway: Gateway, *, local_only: bool) -> str | None:
    choice = gateway.settings.small.on_unavailable
    if choice == "wait" and await gateway.small.wait_available(gateway.settings.server.request_timeout_s):
        return None
    if choice == "escalate" and not local_only:
        return "small tier unavailable"
    raise unavailable("The small model is not available.", code="small_unavailable", retry_after_s=5)


def _degrade(request: ChatRequest, trace: Trace, decision: Escalated, e: NoBudget) -> Escalated:
    if request.controls.on_budget == "fail" or decision.best is None:
        raise no_money(e) from e
    trace.degraded = "budget"
    return decision


async def _answer_locally(
    gateway: Gateway,
    request: ChatRequest,
    way: Route,
    purse: Purse,
    trace: Trace,
    decision: Accepted | Escalated,
    reply: Reply,
) -> None:
    if isinstance(decision, Accepted):
        sample, trace.stage = decision.sample, decision.stage
        trace.confidence = decision.confidence if way.mode == "cascade" else None
    else:
        if decision.best is None:
            raise ApiError(
                502, "The small model gave no valid answer.", type="server_error", code="no_local_answer"
            )
        sample, trace.stage, trace.confidence = decision.best, decision.best_stage, decision.confidence
        trace.degraded = trace.degraded or ("budget" if decision.stopped else "max_stage")
        if decision.stopped and request.controls.on_budget == "fail":
            raise no_money(NoBudget(decision.stopped))
    trace.model = gateway.small.model
    text = sample.text + (
        msgspec.json.encode(sample.message["tool_calls"]).decode() if sample.message.get("tool_calls") else ""
    )
    trace.answer = text
    trace.prompt_tokens = await asyncio.to_thread(count_prompt, way.large_model, request.body)
    trace.completion_tokens = count_text(way.large_model, text)
    trace.baseline = cost(
        gateway.prices[way.large_model], Usage(trace.prompt_tokens, trace.completion_tokens)
    )
    trace.remaining = await purse.remaining()
    usage = replies.usage_object(trace.prompt_tokens, trace.completion_tokens)
    facts = trace.facts()
    if not request.stream:
        trace.first_token()
        await reply.json(
            200, trace.headers(final=True), replies.completion(request, sample, trace.model, usage, facts)
        )
        return
    await reply.open(trace.headers(final=True))
    trace.first_token()
    for chunk in replies.chunks(request, sample, trace.model, usage, facts):
        await reply.event(chunk)
    await reply.event(b"[DONE]")
    await reply.close()


async def _pay(
    gateway: Gateway,
    request: ChatRequest,
    way: Route,
    purse: Purse,
    trace: Trace,
    decision: Escalated,
    reply: Reply,
) -> None:
    """Stage 3: one answer of the large model, with the guideline where there is one."""
    body = dict(request.body)
    if decision.guideline is not None:
        body["messages"] = prompts.guided_request(body["messages"], decision.guideline)
    model = way.large_model
    bounded = await bound_answer(gateway, body, model, request.size, limited=purse.limited)
    async with paid(
        gateway,
        purse,
        trace,
        stage=3,
        role="executor",
        model=model,
        bound=bounded.prompt,
        output=bounded.asked,
        least=bounded.least,
    ) as call:
        sent = bounded.within(call.output)
        trace.stage, trace.model = 3, model
        plan_tokens = count_text(model, decision.guideline) if decision.guideline else 0
        if request.stream:
            usage_chunk = await _relay(gateway, trace, call, sent, reply)
        else:
            raw = await complete(gateway, call, sent)
    _count(gateway, trace, call, model, plan_tokens)
    trace.remaining = await purse.remaining()
    if call.output < bounded.asked and call.finish_reason == "length":
        trace.degraded = "output cut to budget"
    if request.stream:
        if request.wants_usage and usage_chunk is not None:
            decoded = msgspec.json.decode(usage_chunk)
            _without_plan(decoded["usage"], plan_tokens)
            await reply.event(msgspec.json.encode({**decoded, "cope": trace.facts()}))
        await reply.event(b"[DONE]")
        await reply.close()
        return
    if plan_tokens:
        decoded = msgspec.json.decode(raw)
        _without_plan(decoded.get("usage"), plan_tokens)
        raw = msgspec.json.encode(decoded)
    if gateway.settings.ledger.store_content:
        trace.answer = msgspec.json.encode(msgspec.json.decode(raw)["choices"]).decode()
    trace.first_token()
    await reply.json(200, trace.headers(final=True), replies.with_facts(raw, trace.facts()))


async def _relay(
    gateway: Gateway, trace: Trace, call: PaidCall, body: dict[str, Any], reply: Reply
) -> bytes | None:
    """Pass a stage-3 stream on as it comes; return its usage chunk, which is held back for its last facts."""
    usage_chunk: bytes | None = None
    async for data, chunk in stream(gateway, call, body):
        if not chunk.get("choices") and chunk.get("usage"):
            usage_chunk = data
            continue
        await reply.open(trace.headers(final=False))
        trace.first_token()
        await reply.event(data)
    return usage_chunk


def _count(gateway: Gateway, trace: Trace, call: PaidCall, model: str, plan_tokens: int) -> None:
    """Note what one plain call of the large model would have used and cost: this one without its guideline."""
    usage = call.usage or call.counted or Usage()
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    trace.prompt_tokens, trace.completion_tokens = prompt, usage.completion_tokens
    cached = min(usage.cached_tokens, prompt)
    trace.baseline = cost(gateway.prices[model], Usage(prompt, usage.completion_tokens, cached))


def _without_plan(usage: dict[str, Any] | None, plan_tokens: int) -> None:
    """Take the guideline out of the usage that the client sees: it counts its own prompt only."""
    if usage and plan_tokens:
        usage["prompt_tokens"] = max(0, usage["prompt_tokens"] - plan_tokens)
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]


def _write(gateway: Gateway, trace: Trace) -> None:
    store = gateway.settings.ledger.store_content
    plans = trace.plan_records() if store else []
    gateway.writer.submit_end(trace.record(store_content=store), *trace.voted_calls(), *plans)
