"""The limits of a paid call. Every paid call gets them here, so that none escapes the check of a budget."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

from proxy.cascade.types import Json
from proxy.config.schema import LargeModel
from proxy.errors import bad_request
from proxy.formats.base import CallLimits, Format
from proxy.pricing.bounds import LONGEST_CONTEXT
from proxy.pricing.prices import worst_case
from proxy.spending.paid import Spending

P = ParamSpec("P")
T = TypeVar("T")

QUICKLY_READ_BYTES = 8192
"""A larger request is read in a thread. A smaller one takes less time than the way to the thread and back."""
QUICKLY_COUNTED_BYTES = 2048
"""The tokens of a larger request are counted in a thread."""


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

    If a budget has much room, the bytes of the prompt are its limit, because they need no tokenizer. They are never
    fewer than its tokens. The tokens are counted if the budget has little room.

    Args:
        spending: the parts of the request's paid calls.
        model: the model to call.
        format_: the format of `body`.
        body: the request to send.
        default_output: the output limit in tokens if `body` has none.
        context_tokens: tokens that the upstream adds itself.
        size: the size of `body` in bytes, if it is known. Without a budget it is used, because it needs no counting.

    Raises:
        ApiError: a budget applies, and a part of the request has no known limit of its cost.
    """
    limits = format_.limits(body, default_output)
    if format_.is_free:
        return limits
    if isinstance(tier := body.get("service_tier"), str):
        limits = replace(limits, tier=tier)
    if not spending.budget.limited and size is not None:
        return replace(limits, prompt=2 * size + context_tokens)
    await refuse_unbounded(spending, model, format_, body, context_tokens, size)
    sent = format_.upstream_body(limits.within(body, limits.asked))

    async def count() -> int:
        quick = _is_within(size, QUICKLY_COUNTED_BYTES)
        return context_tokens + await _in_time(quick, format_.count, model.id, sent)

    if size is not None:
        quick = _is_within(size, QUICKLY_READ_BYTES)
        in_bytes = context_tokens + await _in_time(quick, format_.count, model.id, sent, in_bytes=True)
        most = worst_case(spending.prices[model.name].bound(limits.tier), in_bytes, limits.asked)
        if spending.budget.has_much_room(most):
            return replace(limits, prompt=in_bytes, count=count)
    return replace(limits, prompt=await count())


async def refuse_unbounded(
    spending: Spending,
    model: LargeModel,
    format_: Format,
    body: Json,
    context_tokens: int = 0,
    size: int | None = None,
) -> None:
    """Refuse a request of which a budget cannot know the highest cost. `size` is that of `body`, if it is known.

    Raises:
        ApiError: a budget applies, and a part of the request has no known limit of its cost.
    """
    if not spending.budget.limited:
        return
    # A body may have a million members.
    quick = _is_within(size, QUICKLY_READ_BYTES)
    name = await _in_time(quick, format_.unbounded_cost, body, spending.prices[model.name])
    if name is None and context_tokens >= LONGEST_CONTEXT:
        name = "previous_response_id"  # of a response that this proxy has not seen
    if name is not None:
        raise bad_request(
            f"A budget applies to this request, and the cost of {name} has no known upper limit. Remove it, or send "
            "the request without a budget.",
            param=name.split(" ", maxsplit=1)[0],
            code="unbounded_cost",
        )


def _is_within(size: int | None, most: int) -> bool:
    return size is not None and size <= most


async def _in_time(quick: bool, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Return the result of some work: at once if it is quick, otherwise from a thread."""
    return work(*args, **options) if quick else await asyncio.to_thread(work, *args, **options)
