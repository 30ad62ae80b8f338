"""Stage 3: the large model answers."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from proxy.cascade.types import Json, NotTried, Unsure
from proxy.config.schema import LargeModel
from proxy.errors import ApiError, bad_request
from proxy.formats.base import CallLimits, Conversation, Format
from proxy.formats.lenient import decode_object, encode, with_members
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_text
from proxy.service.conversations import remember
from proxy.service.exchange import Exchange, end_stream, send_event
from proxy.service.facts import cope_object, response_headers
from proxy.spending.calls import complete, stream
from proxy.spending.paid import PaidCall, paid

log = logging.getLogger(__name__)

_Chunk = tuple[bytes, Json]
_MOST_HELD_BACK = 8
"""Chunks of a stream that look like its last ones."""


async def answer_with_large(exchange: Exchange, decision: Unsure | NotTried) -> None:
    """Answer with the first large model of the route, and with the guideline of stage 2 if there is one.

    If a model is unavailable and billed nothing, try the next one of the route.

    Raises:
        NoBudgetError: the worst case of the call does not fit into a budget. Nothing was sent.
        ApiError: no model answered.
    """
    guideline = decision.guideline if isinstance(decision, Unsure) else None
    *others, last = exchange.route.models
    for model in others:
        try:
            await _answer_with(exchange, model, guideline)
            return
        except ApiError as e:
            if exchange.reply.answering or e.billed or not _another_model_may_answer(e):
                raise
            log.warning("%s: %s failed (%s); trying the next model", exchange.request.id, model.name, e.code)
    await _answer_with(exchange, last, guideline)


def _another_model_may_answer(e: ApiError) -> bool:
    """Return True if the error is about the upstream, not about the request."""
    return e.status >= 500 or e.status in (404, 408, 409, 429)


async def _answer_with(exchange: Exchange, model: LargeModel, guideline: str | None) -> None:
    """Pay for one answer of a large model and send it."""
    request, request_log, format_ = exchange.request, exchange.request_log, exchange.request.format
    body, plan_tokens = exchange.body, 0
    if guideline is not None and isinstance(format_, Conversation):
        body = format_.with_guideline(body, guideline)
        plan_tokens = count_text(model.id, guideline)
    limits = await _call_limits(exchange, model, body)
    async with paid(
        exchange.spending,
        stage=3,
        role="executor",
        model=model,
        format_=format_,
        limits=limits,
    ) as call:
        sent = limits.within(body, call.output)
        request_log.stage, request_log.model = 3, model.name
        if request.stream:
            held_back = await _relay_stream(exchange, call, sent)
        else:
            raw = await complete(call, sent)
    request_log.upstream_headers = call.headers
    _note_baseline(exchange, call, plan_tokens)
    request_log.remaining = await exchange.budget.remaining()
    if call.output < limits.asked and call.finish_reason == "length":
        request_log.degraded = "output cut to budget"
    if request.stream:
        await _end_relayed_stream(exchange, call, held_back, plan_tokens)
    else:
        await _send_complete(exchange, call, raw, plan_tokens)


async def _call_limits(exchange: Exchange, model: LargeModel, body: Json) -> CallLimits:
    """Return the most tokens that a call can use.

    Without a budget, use the size of the request, which is free to compute. Otherwise count tokens.

    Raises:
        ApiError: a budget applies, and the request uses a feature that is not billed by tokens.
    """
    format_, default = exchange.request.format, exchange.state.settings.large.max_output_tokens
    limits = format_.limits(body, default)
    if not exchange.budget.limited:
        return replace(limits, prompt=2 * exchange.request.size + exchange.context_tokens)
    if unbounded := format_.unbounded_cost(body):
        raise bad_request(
            f"A budget applies to this request, and the cost of {unbounded} has no upper limit. Remove it, or send "
            "the request without a budget.",
            code="unbounded_cost",
        )
    prompt = await asyncio.to_thread(format_.count, model.id, body)
    return replace(limits, prompt=prompt + exchange.context_tokens)


async def _relay_stream(exchange: Exchange, call: PaidCall, body: dict[str, Any]) -> list[_Chunk]:
    """Pass on the chunks of a stream as they arrive.

    Return the last chunks. They are held back until the call is settled, because one carries the `cope` object. Chunks
    that only look like the last ones are passed on as soon as content follows.
    """
    format_, request_log = exchange.request.format, exchange.request_log
    shows_usage = format_.sends_final_chunk(exchange.request.body)
    held_back: list[_Chunk] = []
    async for data, chunk in stream(call, body):
        if "usage" in chunk and not shows_usage:
            # The proxy asks every upstream for the usage; this client did not ask for it.
            if format_.is_final_chunk(chunk) and not format_.is_content(chunk):
                continue
            data = with_members(data, {"usage": None})  # noqa: PLW2901
        elif _may_be_last(format_, chunk, held_back):
            held_back.append((data, chunk))
            continue
        request_log.upstream_headers = call.headers
        await exchange.reply.open(response_headers(request_log, final=False))
        request_log.note_first_token()
        for earlier in held_back:
            await _send_chunk(exchange, *earlier)
        held_back = []
        await _send_chunk(exchange, data, chunk)
    return held_back


def _may_be_last(format_: Format, chunk: Json, held_back: list[_Chunk]) -> bool:
    """Whether a chunk is one with usage at the end of a stream, or follows such a chunk without adding content."""
    follows = bool(held_back) and not format_.is_content(chunk)
    return (format_.is_final_chunk(chunk) or follows) and len(held_back) < _MOST_HELD_BACK


async def _send_chunk(exchange: Exchange, data: bytes, chunk: Json) -> None:
    """Send a chunk. The `cope` object of another proxy behind this one is removed."""
    data = with_members(data, {"cope": None}) if "cope" in chunk else data
    await send_event(exchange, data, chunk.get("type"))


async def _end_relayed_stream(
    exchange: Exchange, call: PaidCall, held_back: list[_Chunk], plan_tokens: int
) -> None:
    """Send the chunks that were held back, the last one with usage with the `cope` object, and end the stream."""
    format_ = exchange.request.format
    await exchange.reply.open(
        response_headers(exchange.request_log, final=False)
    )  # no chunk may have been sent
    finals = [i for i, (_, chunk) in enumerate(held_back) if format_.is_final_chunk(chunk)]
    for i, (data, chunk) in enumerate(held_back):
        if i not in finals[-1:]:
            await _send_chunk(exchange, data, chunk)
            continue
        await _remember_response(exchange, call, chunk.get("response"))
        last = format_.with_facts(data, plan_tokens, cope_object(exchange.request_log))
        await send_event(exchange, last, chunk.get("type"))
    await end_stream(exchange)


async def _send_complete(exchange: Exchange, call: PaidCall, raw: bytes, plan_tokens: int) -> None:
    """Send an unstreamed answer with the `cope` object. It is decoded only if something in it is needed."""
    request_log, format_ = exchange.request_log, exchange.request.format
    store = exchange.state.settings.ledger.store_content
    if store or format_.path == "/responses":
        decoded = decode_object(raw)
        if store:
            request_log.answer = encode(decoded.get("choices", decoded.get("output"))).decode()
        await _remember_response(exchange, call, decoded)
    request_log.note_first_token()
    body = format_.with_facts(raw, plan_tokens, cope_object(request_log))
    await exchange.reply.json(200, response_headers(request_log, final=True), body)


async def _remember_response(exchange: Exchange, call: PaidCall, response: Any) -> None:
    """Remember which key owns an upstream response, and how many tokens it adds to a request that continues it."""
    if exchange.request.format.path != "/responses" or not isinstance(response, dict):
        return
    id_ = response.get("id")
    if isinstance(id_, str) and id_ and id_.isprintable():  # the database takes no NUL and no half characters
        used = call.usage or Usage(prompt_tokens=call.prompt_limit, completion_tokens=call.output)
        tokens = used.prompt_tokens + used.completion_tokens
        await remember(exchange.state, exchange.request, id_[:128], context_tokens=tokens)


def _note_baseline(exchange: Exchange, call: PaidCall, plan_tokens: int) -> None:
    """Note the baseline: the usage and cost of this call without the guideline's tokens."""
    usage = call.usage or call.counted or Usage()
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    plain = Usage(
        prompt_tokens=prompt,
        completion_tokens=usage.completion_tokens,
        cached_tokens=min(usage.cached_tokens, prompt),
    )
    request_log = exchange.request_log
    request_log.prompt_tokens, request_log.completion_tokens = prompt, usage.completion_tokens
    request_log.baseline = cost(exchange.state.prices[call.model.name], plain)
