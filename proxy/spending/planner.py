"""The large planner: one paid guideline."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from proxy.cascade import prompts
from proxy.cascade.prompts import PLAN_ENDS, plan_in
from proxy.cascade.types import NO_GUIDELINE_NEEDED, Guideline, Json
from proxy.config.schema import LargeModel
from proxy.errors import ApiError
from proxy.formats.base import Conversation
from proxy.formats.lenient import decode_object
from proxy.formats.prompt_cache import OFF, CacheUse, laid_out, without_cache
from proxy.pricing.tokens import hides_reasoning
from proxy.spending.calls import complete
from proxy.spending.limits import call_limits, refuse_unbounded
from proxy.spending.paid import Spending, paid

REASONING_ROOM = 1024
"""Tokens that a reasoning model may think in addition to the text that it writes."""
CACHED_BYTES = 4096
"""About 1,024 tokens. Shorter prompts are not cached."""


@dataclass(frozen=True, kw_only=True)
class PaidPlanner:
    """The cascade's `LargePlanner`: it pays for the guideline of one request."""

    spending: Spending
    model: LargeModel
    max_tokens: int
    format: Conversation
    body: Json
    """The client's request."""
    cache: CacheUse = OFF

    async def guideline(self) -> Guideline | None:
        """Pay for one guideline. See `proxy.cascade.protocols.LargePlanner`."""
        spending, model, format_ = self.spending, self.model, self.format
        request, limit = plan_request(model.id, self.body, self.max_tokens, format_=format_, cache=self.cache)
        try:
            # Stage 3 sends the whole request. If a budget refuses that, a guideline would be paid for in vain.
            await refuse_unbounded(spending, model, format_, self.body)
            limits = await call_limits(spending, model, format_, request, default_output=limit)
            # The budget has to cover the complete guideline, because half of one is of no use.
            limits = replace(limits, least=limits.asked)
            async with paid(
                spending, stage=2, role="planner", model=model, format_=format_, limits=limits
            ) as call:
                answer = await complete(call, limits.within(request, limit))
        except ApiError:
            return None  # Stage 3 follows without a guideline. If the upstream is down, that call reports it.
        written = format_.written_text(decode_object(answer))
        return plan_in(written) or (NO_GUIDELINE_NEEDED if written.strip() else None)


def plan_request(
    model: str, body: Json, limit: int, *, format_: Conversation, cache: CacheUse = OFF
) -> tuple[dict[str, Any], int]:
    """Return the planner's request body and its output limit, including room for hidden reasoning tokens.

    It begins like the request of stage 3, which then reads the prompt from the vendor's cache. The effort of reasoning is
    part of that beginning. So it is lowered only if the prompt is not cached.
    """
    thinks = hides_reasoning(model, body)
    lower = thinks and (cache.fields == "off" or len(msgspec.json.encode(body)) < CACHED_BYTES)
    request, shares_prefix = format_.planner_body(body, effort="low" if lower else None)
    if not thinks and format_.path == "/chat/completions":
        request["stop"] = [PLAN_ENDS]
    if cache.fields == "breakpoints" and not shares_prefix:
        request = format_.with_text(without_cache(request), prompts.GUIDELINE, apart=True)
    else:
        request = laid_out(format_, request, prompts.GUIDELINE, cache)
    return request, limit + (REASONING_ROOM if thinks else 0)
