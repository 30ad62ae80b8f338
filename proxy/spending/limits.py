"""The limits of a paid call. Every paid call gets them here, so that none escapes the check of a budget."""

import asyncio
from dataclasses import replace

from proxy.cascade.types import Json
from proxy.config.schema import LargeModel
from proxy.errors import bad_request
from proxy.formats.base import CallLimits, Format
from proxy.pricing.bounds import LONGEST_CONTEXT
from proxy.spending.paid import Spending


async def call_limits(
    spending: Spending,
    model: LargeModel,
    format_: Format,
    body: Json,
    *,
    default_output: int,
    context_tokens: int = 0,
    size: int | None = None,
) -> CallLimits:
    """Return the most tokens that a call can use.

    Args:
        spending: the parts of the request's paid calls.
        model: the model to call.
        format_: the format of `body`.
        body: the request to send.
        default_output: the output limit in tokens if `body` has none.
        context_tokens: tokens that the upstream adds itself.
        size: the size of the request in bytes, if it is known. Without a budget it is used, because it needs no counting.

    Raises:
        ApiError: a budget applies, and a part of the request has no known limit of its cost.
    """
    limits = format_.limits(body, default_output)
    if format_.is_free:
        return limits
    if not spending.budget.limited and size is not None:
        return replace(limits, prompt=2 * size + context_tokens)
    await refuse_unbounded(spending, model, format_, body, context_tokens)
    sent = format_.upstream_body(limits.within(body, limits.asked))
    prompt = await asyncio.to_thread(format_.count, model.id, sent)
    return replace(limits, prompt=prompt + context_tokens)


async def refuse_unbounded(
    spending: Spending, model: LargeModel, format_: Format, body: Json, context_tokens: int = 0
) -> None:
    """Refuse a request of which a budget cannot know the highest cost.

    Raises:
        ApiError: a budget applies, and a part of the request has no known limit of its cost.
    """
    if not spending.budget.limited:
        return
    # A body may have a million members, so a thread reads it.
    name = await asyncio.to_thread(format_.unbounded_cost, body, spending.prices[model.name])
    if name is None and context_tokens >= LONGEST_CONTEXT:
        name = "previous_response_id"  # of a response that this proxy has not seen
    if name is not None:
        raise bad_request(
            f"A budget applies to this request, and the cost of {name} has no known upper limit. Remove it, or send "
            "the request without a budget.",
            param=name.split(" ", maxsplit=1)[0],
            code="unbounded_cost",
        )
