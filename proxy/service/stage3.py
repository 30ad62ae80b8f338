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
from proxy.formats.base import CallLimits, Conversation
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_text
from proxy.service.conversations import remember
from proxy.service.exchange import Exchange, end_stream, send_event
from proxy.service.reply import Reply
from proxy.spending.calls import complete, stream
from proxy.spending.paid import PaidCall, paid

log = logging.getLogger(__name__)


async def answer_with_large(exchange: Exchange, decision: Escalated, reply: Reply) -> None:
    """Stage 3: one answer of the large model, with the guideline where there is one.

    Where the model is away and nothing was billed, the next one of the route answers.
    """
    *others, last = exchange.way.models
    for model in others:
        try:
            await _call_model(exchange, model, decision, reply)
            return
        except ApiError as e:
            if reply.answering or e.billed or not _another_model_may_answer(e):
                raise
            log.warning("%s: %s failed (%s); the next one is asked", exchange.request.id, model.name, e.code)
    await _call_model(exchange, last, decision, reply)


def _another_model_may_answer(e: ApiError) -> bool:
    """Whether the error speaks of the upstream and not of the request."""
    return e.status >= 500 or e.status in (404, 408, 409, 429)


async def _call_model(exchange: Exchange, model: LargeModel, decision: Escalated, reply: Reply) -> None:
    request, request_log, format_ = exchange.request, exchange.request_log, exchange.request.format
    body, plan_tokens = exchange.body, 0
    if decision.guideline is not None and isinstance(format_, Conversation):
        body = format_.with_guideline(body, decision.guideline)
        plan_tokens = count_text(model.id, decision.guideline)
    bound = await _request_limit(exchange, model, body)
    async with paid(
        exchange.state,
        exchange.budget,
        request_log,
        stage=3,
        role="executor",
        model=model,
        format_=format_,
        bound=bound,
    ) as call:
        sent = bound.within(body, call.output)
        request_log.stage, request_log.model = 3, model.name
        if request.stream:
            last = await _relay(exchange, call, sent, reply)
        else:
            raw = await complete(exchange.state, call, sent)
    request_log.upstream_headers = call.headers
    _record_baseline(exchange, call, plan_tokens)
    request_log.remaining = await exchange.budget.remaining()
    if call.output < bound.asked and call.finish_reason == "length":
        request_log.degraded = "output cut to budget"
    if request.stream:
        if last is not None and format_.sends_final_chunk(request.body):
            await _remember_response(exchange, call, last.get("response"))
            ended = format_.with_facts(last, plan_tokens, request_log.facts())
            await send_event(exchange, reply, msgspec.json.encode(ended))
        await end_stream(exchange, reply)
        return
    store, decoded = exchange.state.settings.ledger.store_content, None
    if plan_tokens or store or format_.path == "/responses":
        decoded = msgspec.json.decode(raw)
    if decoded is not None and store:
        request_log.answer = msgspec.json.encode(decoded.get("choices", decoded.get("output"))).decode()
    await _remember_response(exchange, call, decoded)
    request_log.first_token()
    whole = (
        msgspec.json.encode(format_.with_facts(decoded, plan_tokens, request_log.facts()))
        if plan_tokens and decoded is not None
        else _with_facts(raw, request_log.facts())
    )
    await reply.json(200, request_log.headers(final=True), whole)


async def _request_limit(exchange: Exchange, model: LargeModel, body: Json) -> CallLimits:
    """Bound an answer; without a budget, bytes are bound enough and cost nothing to count.

    Raises:
        ApiError: a budget applies, and what the request asks for costs more than its tokens.
    """
    format_, default = exchange.request.format, exchange.state.settings.large.max_output_tokens
    bound = format_.limits(body, default)
    if not exchange.budget.limited:
        return replace(bound, prompt=2 * exchange.request.size + exchange.context)
    if unbounded := format_.unbounded_cost(body):
        raise bad_request(
            f"A budget applies to this request, and what {unbounded} costs cannot be bounded beforehand. Leave it "
            "out, or ask without a budget.",
            code="unbounded_cost",
        )
    prompt = await asyncio.to_thread(format_.count, model.id, body)
    return replace(bound, prompt=prompt + exchange.context)


async def _remember_response(exchange: Exchange, call: PaidCall, response: Any) -> None:
    """Note whose response of the upstream this is, and how long, for one that continues it."""
    if exchange.request.format.path == "/responses" and isinstance(response, dict) and response.get("id"):
        used = call.usage or Usage(call.prompt_bound, call.output)
        tokens = used.prompt_tokens + used.completion_tokens
        await remember(exchange.state, exchange.request, str(response["id"])[:128], context=tokens)


async def _relay(
    exchange: Exchange, call: PaidCall, body: dict[str, Any], reply: Reply
) -> dict[str, Any] | None:
    """Pass a stage-3 stream on as it comes; return its last chunk, which is held back for its last facts."""
    format_, request_log = exchange.request.format, exchange.request_log
    unasked = not format_.events_are_named and not (exchange.request.body.get("stream_options") or {}).get(
        "include_usage"
    )
    last = None
    async for data, chunk in stream(exchange.state, call, body):
        if format_.is_final_chunk(chunk):
            last = chunk
            continue
        request_log.upstream_headers = call.headers
        await reply.open(request_log.headers(final=False))
        request_log.first_token()
        if unasked and "usage" in chunk:
            # We asked for the usage, the client did not: it must not see that we did.
            data = msgspec.json.encode({k: v for k, v in chunk.items() if k != "usage"})  # noqa: PLW2901
        await send_event(exchange, reply, data, chunk.get("type"))
    return last


def _record_baseline(exchange: Exchange, call: PaidCall, plan_tokens: int) -> None:
    """Note what one plain call of the large model would have used and cost: this one without its guideline."""
    usage = call.usage or call.counted or Usage()
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    exchange.request_log.prompt_tokens, exchange.request_log.completion_tokens = (
        prompt,
        usage.completion_tokens,
    )
    cached = min(usage.cached_tokens, prompt)
    plain = Usage(prompt, usage.completion_tokens, cached)
    exchange.request_log.baseline = cost(exchange.state.prices[call.model.name], plain)


def _with_facts(raw: bytes, facts: object) -> bytes:
    """Add the `cope` object to an upstream's answer without decoding it: its bytes pass through."""
    return raw.rstrip()[:-1] + b',"cope":' + msgspec.json.encode(facts) + b"}"
