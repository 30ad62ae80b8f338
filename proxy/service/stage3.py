"""Stage 3: the large model answers."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from proxy.cascade.prompts import guided_text
from proxy.cascade.types import Json, NotTried, Unsure
from proxy.config.schema import LargeModel
from proxy.errors import ApiError
from proxy.formats.base import Format, as_conversation
from proxy.formats.lenient import decode_object, encode, with_members
from proxy.formats.prompt_cache import CacheUse, added_bytes, laid_out
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_text
from proxy.records import CallRecord
from proxy.service.baseline import usage_alone
from proxy.service.conversations import remember
from proxy.service.exchange import Exchange, end_stream, send_events
from proxy.service.facts import cope_object, response_headers
from proxy.service.ownership import objects_of, remember_objects
from proxy.service.prompt_cache import cache_use, learn_refusal
from proxy.service.request import clean
from proxy.service.stored_completions import remember_completion
from proxy.spending.calls import complete, stream
from proxy.spending.limits import call_limits
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
            log.warning("%s: %s failed (%s); trying the next model", exchange.request.id, model.name, e.word)
    await _answer_with(exchange, last, guideline)


def _another_model_may_answer(e: ApiError) -> bool:
    """Return True if the error is about the upstream, not about the request."""
    return e.status >= 500 or e.status in (402, 404, 408, 409, 425, 429)


async def _answer_with(exchange: Exchange, model: LargeModel, guideline: str | None) -> None:
    """Answer with a large model. If it refuses a field of the prompt cache, answer without that field."""
    while True:
        use = cache_use(exchange, model)
        try:
            await _pay_for_answer(exchange, model, guideline, use)
            return
        except ApiError as e:
            if exchange.reply.answering or not learn_refusal(exchange, model, use, e):
                raise
            log.warning("%s refuses fields of the prompt cache and gets fewer from now on", model.name)


async def _pay_for_answer(
    exchange: Exchange, model: LargeModel, guideline: str | None, use: CacheUse
) -> None:
    """Pay for one answer of a large model and send it."""
    request, request_log, format_ = exchange.request, exchange.request_log, exchange.request.format
    body, plan_tokens = exchange.body, 0
    # The size of a conversation that was filled in is not known.
    size = request.size if body is request.body else None
    conversation = as_conversation(format_)
    if conversation is not None and (guideline is not None or use.fields != "off"):
        text = "" if guideline is None else guided_text(guideline)
        body = laid_out(conversation, body, text, use)
        plan_tokens = await asyncio.to_thread(count_text, model.id, guideline or "")
        size = None if size is None else size + added_bytes(text, use)
    limits = await call_limits(
        exchange.spending,
        model,
        format_,
        body,
        default_output=exchange.state.settings.large.max_output_tokens,
        context_tokens=exchange.context_tokens,
        size=size,
    )
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
            held_back, made = await _relay_stream(exchange, call, sent)
        else:
            raw = await complete(call, sent)
    request_log.upstream_headers = call.headers
    _note_baseline(exchange, call, plan_tokens)
    request_log.remaining = await exchange.budget.remaining()
    if call.output < limits.asked and call.finish_reason == "length":
        request_log.degraded = "output cut to budget"
    if request.stream:
        await _remember_answer(exchange, call, made.get("response", made))
        await _end_relayed_stream(exchange, held_back, plan_tokens)
    else:
        await _send_complete(exchange, call, raw, plan_tokens)


async def _relay_stream(
    exchange: Exchange, call: PaidCall, body: dict[str, Any]
) -> tuple[list[_Chunk], Json]:
    """Pass on the chunks of a stream as they arrive.

    Return the last chunks, and one that names the answer. The last ones are held back until the call is settled, because
    one carries the `cope` object. Chunks that only look like the last ones are passed on as soon as content follows.
    """
    format_, request_log = exchange.request.format, exchange.request_log
    shows_usage = format_.sends_final_chunk(exchange.request.body)
    speaks, objects = bool(exchange.body.get("audio")), set[str]()
    held_back: list[_Chunk] = []
    made: Json = {}
    begun = False
    async with aclosing(stream(call, body)) as batches:  # closed before the call is settled
        async for batch in batches:
            passed_on: list[_Chunk] = []
            for data, chunk in batch:
                if "id" in chunk or "response" in chunk:
                    made = chunk
                if speaks:
                    objects.update(objects_of(chunk))
                if "usage" in chunk and not shows_usage:
                    # The proxy asks every upstream for the usage; this client did not ask for it.
                    if format_.is_final_chunk(chunk) and not format_.is_content(chunk):
                        continue
                    data = with_members(data, {"usage": None})  # noqa: PLW2901
                elif _may_be_last(format_, chunk, held_back):
                    held_back.append((data, chunk))
                    continue
                passed_on += held_back
                passed_on.append((data, chunk))
                held_back = []
            if not passed_on:
                continue
            if not begun:
                begun, request_log.upstream_headers = True, call.headers
                await exchange.reply.open(response_headers(request_log, final=False))
                request_log.note_first_token()
            await _send_chunks(exchange, passed_on)
    await remember_objects(exchange.state, exchange.request, objects)
    return held_back, made


def _may_be_last(format_: Format, chunk: Json, held_back: list[_Chunk]) -> bool:
    """Whether a chunk is one with usage at the end of a stream, or follows such a chunk without adding content."""
    follows = bool(held_back) and not format_.is_content(chunk)
    return (format_.is_final_chunk(chunk) or follows) and len(held_back) < _MOST_HELD_BACK


async def _send_chunks(exchange: Exchange, chunks: Sequence[_Chunk]) -> None:
    """Send chunks together. The `cope` object of another proxy behind this one is removed."""
    await send_events(
        exchange,
        [
            (with_members(data, {"cope": None}) if "cope" in chunk else data, chunk.get("type"))
            for data, chunk in chunks
        ],
    )


async def _end_relayed_stream(exchange: Exchange, held_back: list[_Chunk], plan_tokens: int) -> None:
    """Send the chunks that were held back, the last one with usage with the `cope` object, and end the stream."""
    format_ = exchange.request.format
    # The last chunk may be the only one.
    await exchange.reply.open(response_headers(exchange.request_log, final=False))
    finals = [i for i, (_, chunk) in enumerate(held_back) if format_.is_final_chunk(chunk)]
    for i, (data, chunk) in enumerate(held_back):
        if i not in finals[-1:]:
            await _send_chunks(exchange, [(data, chunk)])
            continue
        last = format_.with_facts(data, plan_tokens, cope_object(exchange.request_log))
        await send_events(exchange, [(last, chunk.get("type"))])
    await end_stream(exchange)


async def _send_complete(exchange: Exchange, call: PaidCall, raw: bytes, plan_tokens: int) -> None:
    """Send an unstreamed answer with the `cope` object. It is decoded only if something in it is needed."""
    request_log, format_ = exchange.request_log, exchange.request.format
    keep_content = exchange.state.settings.ledger.store_content
    if keep_content or exchange.request.stored or exchange.body.get("audio"):
        decoded = decode_object(raw)
        if keep_content:
            request_log.answer = encode(decoded.get("choices", decoded.get("output"))).decode()
        await _remember_answer(exchange, call, decoded)
    request_log.note_first_token()
    facts = cope_object(request_log)
    body = format_.with_facts(raw, plan_tokens, facts)
    await exchange.reply.json(200, response_headers(request_log, final=True, members=facts), body)


async def _remember_answer(exchange: Exchange, call: PaidCall, answer: Any) -> None:
    """Remember which key owns an answer that the upstream stores, and what a request that continues it adds there."""
    request = exchange.request
    if not isinstance(answer, dict):
        return
    await remember_objects(exchange.state, request, set(objects_of(answer)))
    id_ = answer.get("id")
    if not (isinstance(id_, str) and id_ and request.stored):
        return
    id_ = clean(id_)[:128]
    if request.format.path == "/responses":
        used = call.usage or Usage(prompt_tokens=call.prompt_limit, completion_tokens=call.output)
        tokens = used.prompt_tokens + used.completion_tokens
        await remember(exchange.state, request, id_, model=call.model.name, context_tokens=tokens)
    else:
        answered_by = clean(str(answer.get("model")))
        await remember_completion(
            exchange.state, request, id_, answered_by=answered_by, model=call.model.name
        )


def _note_baseline(exchange: Exchange, call: PaidCall, plan_tokens: int) -> None:
    """Note the baseline: the usage and cost of this call without the guideline's tokens."""
    usage = call.usage or call.counted or Usage()
    plain = usage_alone(usage, plan_tokens, _planner_with_same_prefix(exchange, call))
    request_log = exchange.request_log
    request_log.prompt_tokens, request_log.completion_tokens = plain.prompt_tokens, plain.completion_tokens
    request_log.baseline = cost(exchange.state.prices[call.model.name], plain)


def _planner_with_same_prefix(exchange: Exchange, call: PaidCall) -> CallRecord | None:
    """Return the planner's call of this request if it began like the answer's."""
    conversation = as_conversation(exchange.request.format)
    if conversation is None:
        return None
    calls = (c for c in exchange.request_log.calls if c.role == "planner" and c.model == call.model.name)
    planner = next(calls, None)
    return planner if planner and conversation.planner_body(exchange.body, effort=None)[1] else None
