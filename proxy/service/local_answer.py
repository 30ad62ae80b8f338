"""Send an answer of the small model."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec

from proxy.cascade.types import Accepted, NotTried, Sample, Unsure
from proxy.errors import NoBudgetError, budget_exhausted, no_local_answer
from proxy.formats.base import Conversation, LocalAnswer, as_conversation
from proxy.formats.responses_render import output_items
from proxy.formats.responses_translate import input_items
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tiers import tier_alone
from proxy.pricing.tokens import count_text
from proxy.service.baseline import prompt_alone
from proxy.service.conversations import remember
from proxy.service.exchange import Exchange, end_stream, send_events
from proxy.service.facts import cope_object, response_headers
from proxy.service.stored_completions import remember_completion


def degrade(exchange: Exchange, decision: Unsure | NotTried, e: NoBudgetError) -> Unsure:
    """Fall back to the best local answer when the budget does not cover the large model.

    Raises:
        ApiError: the client wants an error instead, or there is no local answer.
    """
    if exchange.request.controls.on_budget == "fail" or (
        isinstance(decision, NotTried) or decision.best is None
    ):
        raise budget_exhausted(e) from e
    exchange.request_log.degraded = "budget"
    return decision


async def answer_locally(exchange: Exchange, decision: Accepted | Unsure | NotTried) -> None:
    """Send the small model's answer.

    Raises:
        ApiError: there is no valid answer, or the budget was too small and the client wants an error then.
    """
    state, request, request_log = exchange.state, exchange.request, exchange.request_log
    format_ = as_conversation(request.format)
    assert format_ is not None
    sample = _local_answer(exchange, decision)
    request_log.model = state.small.model
    usage = await _note_local_usage(exchange, format_, sample)
    request_log.remaining = await exchange.budget.remaining()
    local = LocalAnswer(
        request_id=request.id,
        received_at=request.received_at,
        model=request_log.model,
        sample=sample,
        usage=usage,
        facts=cope_object(request_log),
    )
    if request.stored:
        local = replace(local, stored=await _remember(exchange, format_, replace(local, stored=True)))
    headers = response_headers(request_log, final=True)
    if not request.stream:
        request_log.note_first_token()
        await exchange.reply.json(200, headers, format_.render(request.body, local))
        return
    await exchange.reply.open(headers)
    request_log.note_first_token()
    for event in format_.events(request.body, local):
        await send_events(exchange, [(event, None)])
    await end_stream(exchange)


async def _remember(exchange: Exchange, format_: Conversation, local: LocalAnswer) -> bool:
    """Keep the answer, so that its client can read and continue it. Return True if it is kept."""
    state, request = exchange.state, exchange.request
    answer: dict[str, Any] = msgspec.json.decode(format_.render(request.body, local))
    if format_.path == "/responses":
        items = [*input_items(exchange.body), *output_items(local)]
        return await remember(state, request, answer["id"], items=items, answer=answer)
    return await remember_completion(
        state,
        request,
        answer["id"],
        answered_by=local.model,
        answer=answer,
        messages=exchange.body["messages"],
    )


def _local_answer(exchange: Exchange, decision: Accepted | Unsure | NotTried) -> Sample:
    """Return the sample to send, and note its stage, its confidence, and how it is degraded."""
    request_log = exchange.request_log
    if isinstance(decision, Accepted):
        request_log.stage = decision.stage
        request_log.confidence = decision.confidence if exchange.route.mode == "cascade" else None
        return decision.sample
    if isinstance(decision, NotTried) or decision.best is None:
        raise no_local_answer()
    request_log.stage, request_log.confidence = decision.best_stage, decision.confidence
    request_log.degraded = request_log.degraded or ("budget" if decision.stopped else "max_stage")
    if decision.stopped and exchange.request.controls.on_budget == "fail":
        raise budget_exhausted(decision.stopped)
    return decision.best


async def _note_local_usage(exchange: Exchange, format_: Conversation, sample: Sample) -> Usage:
    """Note the answer, and the usage and cost that the large model would have had for it."""
    request_log, large = exchange.request_log, exchange.route.large
    calls = sample.message.get("tool_calls")
    request_log.answer = sample.text + (msgspec.json.encode(calls).decode() if calls else "")
    price = exchange.state.prices[large.name]
    alone = await asyncio.to_thread(prompt_alone, large.id, price, format_.as_chat(exchange.body))
    output = await asyncio.to_thread(count_text, large.id, request_log.answer)
    request_log.prompt_tokens, request_log.completion_tokens = alone.prompt_tokens, output
    tier = tier_alone(price, exchange.body.get("service_tier"))
    request_log.baseline = cost(price, replace(alone, completion_tokens=output, tier=tier))
    return Usage(prompt_tokens=alone.prompt_tokens, completion_tokens=output)
