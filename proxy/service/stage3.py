"""Stage 3: the large model answers."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import msgspec

from proxy.cascade.types import Escalated, Json
from proxy.config.schema import LargeModel
from proxy.errors import (
    ApiError,
    bad_request,
)
from proxy.formats.base import Bound, Conversation
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_text
from proxy.service.conversations import remember
from proxy.service.exchange import Exchange, end_stream, send_event
from proxy.service.reply import Reply
from proxy.spending.calls import complete, stream
from proxy.spending.paid import PaidCall, may_be_billed, paid

log = logging.getLogger(__name__)


async def answer_with_large(work: Exchange, decision: Escalated, reply: Reply) -> None:
    """Stage 3: one answer of the large model, with the guideline where there is one.

    Where the model is away and nothing was billed, the next one of the route answers.
    """
    *others, last = work.way.models
    for model in others:
        try:
            await _call_model(work, model, decision, reply)
            return
        except ApiError as e:
            if reply.answering or may_be_billed(e) or not _another_model_may_answer(e):
                raise
            log.warning("%s: %s failed (%s); the next one is asked", work.request.id, model.name, e.code)
    await _call_model(work, last, decision, reply)


def _another_model_may_answer(e: ApiError) -> bool:
    """Whether the error speaks of the upstream and not of the request."""
    return e.status >= 500 or e.status in (404, 408, 409, 429)


async def _call_model(work: Exchange, model: LargeModel, decision: Escalated, reply: Reply) -> None:
    request, trace, dialect = work.request, work.trace, work.request.dialect
    body, plan_tokens = work.body, 0
    if decision.guideline is not None and isinstance(dialect, Conversation):
        body = dialect.guided(body, decision.guideline)
        plan_tokens = count_text(model.id, decision.guideline)
    bound = await _request_limit(work, model, body)
    async with paid(
        work.gateway, work.purse, trace, stage=3, role="executor", model=model, dialect=dialect, bound=bound
    ) as call:
        sent = bound.within(body, call.output)
        trace.stage, trace.model = 3, model.name
        if request.stream:
            last = await _relay(work, call, sent, reply)
        else:
            raw = await complete(work.gateway, call, sent)
    trace.upstream_headers = call.headers
    _record_baseline(work, call, plan_tokens)
    trace.remaining = await work.purse.remaining()
    if call.output < bound.asked and call.finish_reason == "length":
        trace.degraded = "output cut to budget"
    if request.stream:
        if last is not None and dialect.shown(request.body):
            await _remember_response(work, call, last.get("response"))
            ended = dialect.last(last, plan_tokens, trace.facts())
            await send_event(work, reply, msgspec.json.encode(ended))
        await end_stream(work, reply)
        return
    store, decoded = work.gateway.settings.ledger.store_content, None
    if plan_tokens or store or dialect.path == "/responses":
        decoded = msgspec.json.decode(raw)
    if decoded is not None and store:
        trace.answer = msgspec.json.encode(decoded.get("choices", decoded.get("output"))).decode()
    await _remember_response(work, call, decoded)
    trace.first_token()
    whole = (
        msgspec.json.encode(dialect.last(decoded, plan_tokens, trace.facts()))
        if plan_tokens and decoded is not None
        else _with_facts(raw, trace.facts())
    )
    await reply.json(200, trace.headers(final=True), whole)


async def _request_limit(work: Exchange, model: LargeModel, body: Json) -> Bound:
    """Bound an answer; without a budget, bytes are bound enough and cost nothing to count.

    Raises:
        ApiError: a budget applies, and what the request asks for costs more than its tokens.
    """
    dialect, default = work.request.dialect, work.gateway.settings.large.max_output_tokens
    bound = dialect.bound(body, default)
    if not work.purse.limited:
        return replace(bound, prompt=2 * work.request.size + work.context)
    if unbounded := dialect.unbounded(body):
        raise bad_request(
            f"A budget applies to this request, and what {unbounded} costs cannot be bounded beforehand. Leave it "
            "out, or ask without a budget.",
            code="unbounded_cost",
        )
    prompt = await asyncio.to_thread(dialect.count, model.id, body)
    return replace(bound, prompt=prompt + work.context)


async def _remember_response(work: Exchange, call: PaidCall, response: Any) -> None:
    """Note whose response of the upstream this is, and how long, for one that continues it."""
    if work.request.dialect.path == "/responses" and isinstance(response, dict) and response.get("id"):
        used = call.usage or Usage(call.prompt_bound, call.output)
        tokens = used.prompt_tokens + used.completion_tokens
        await remember(work.gateway, work.request, str(response["id"])[:128], context=tokens)


async def _relay(work: Exchange, call: PaidCall, body: dict[str, Any], reply: Reply) -> dict[str, Any] | None:
    """Pass a stage-3 stream on as it comes; return its last chunk, which is held back for its last facts."""
    dialect, trace = work.request.dialect, work.trace
    unasked = not dialect.named_events and not (work.request.body.get("stream_options") or {}).get(
        "include_usage"
    )
    last = None
    async for data, chunk in stream(work.gateway, call, body):
        if dialect.held_back(chunk):
            last = chunk
            continue
        trace.upstream_headers = call.headers
        await reply.open(trace.headers(final=False))
        trace.first_token()
        if unasked and "usage" in chunk:
            # We asked for the usage, the client did not: it must not see that we did.
            data = msgspec.json.encode({k: v for k, v in chunk.items() if k != "usage"})  # noqa: PLW2901
        await send_event(work, reply, data, chunk.get("type"))
    return last


def _record_baseline(work: Exchange, call: PaidCall, plan_tokens: int) -> None:
    """Note what one plain call of the large model would have used and cost: this one without its guideline."""
    usage = call.usage or call.counted or Usage()
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    work.trace.prompt_tokens, work.trace.completion_tokens = prompt, usage.completion_tokens
    cached = min(usage.cached_tokens, prompt)
    plain = Usage(prompt, usage.completion_tokens, cached)
    work.trace.baseline = cost(work.gateway.prices[call.model.name], plain)


def _with_facts(raw: bytes, facts: object) -> bytes:
    """Add the `cope` object to an upstream's answer without decoding it: its bytes pass through."""
    return raw.rstrip()[:-1] + b',"cope":' + msgspec.json.encode(facts) + b"}"
