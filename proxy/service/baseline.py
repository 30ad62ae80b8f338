"""The baseline of a request: what it would have cost if the large model had answered alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proxy.cascade.types import Json
from proxy.pricing.prices import Price, Usage
from proxy.pricing.tokens import count_prompt
from proxy.records import CallRecord

SHORTEST_CACHED = 1024
"""Vendors cache no shorter prompts."""


def usage_alone(usage: Usage, plan_tokens: int, planner: CallRecord | None) -> Usage:
    """Return the usage of an answer of the large model without its guideline.

    If the planner's call had the same prefix, that call read and wrote what the answer alone would have read and written.
    The answer itself read it all from the cache.

    Args:
        usage: the usage of the answer.
        plan_tokens: the tokens of the guideline.
        planner: the planner's call with the same prefix, if there was one.
    """
    first = usage if planner is None or planner.estimated else planner.usage
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    cached = min(first.cached_tokens, prompt)
    return replace(
        usage,
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=min(first.cache_write_tokens, prompt - cached),
        cache_write_1h_tokens=first.cache_write_1h_tokens,
        charged=None,
    )


def prompt_alone(model: str, price: Price, chat: Json) -> Usage:
    """Return the prompt of a chat as the large model alone would have read it. Call it in a thread.

    It would have read the request of the turn before from its cache. That ended before the last answer in the conversation.
    """
    prompt = count_prompt(model, chat)
    before = _earlier_turn(chat["messages"])
    if not before or price.cached_input is None:
        return Usage(prompt_tokens=prompt)
    cached = count_prompt(model, {**chat, "messages": before})
    return Usage(prompt_tokens=prompt, cached_tokens=min(cached, prompt) if cached >= SHORTEST_CACHED else 0)


def _earlier_turn(messages: Sequence[Any]) -> Sequence[Any]:
    answers = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
    return messages[: answers[-1]] if answers else []
