"""The large planner: one paid guideline."""

from collections.abc import Callable
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
_FOR_THE_ANSWERER = frozenset(
    {
        "reasoning_effort", "reasoning", "verbosity", "text",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    }
)  # fmt: skip
"""Fields that a client sets for the model that answers. Another model may refuse them."""


@dataclass(frozen=True, kw_only=True)
class PaidPlanner:
    """The cascade's `LargePlanner`: it pays for the guideline of one request."""

    spending: Spending
    model: LargeModel
    """The model that writes the guideline."""
    answerer: LargeModel
    """The model that answers in stage 3. Often the same one."""
    max_tokens: int
    format: Conversation
    body: Json
    """The client's request."""
    cache: CacheUse = OFF
    on_error: Callable[[ApiError], object] = lambda _: None
    """Called with the error of the model, if it gave one."""

    async def guideline(self) -> Guideline | None:
        """Pay for one guideline. See `proxy.cascade.protocols.LargePlanner`."""
        spending, model, format_ = self.spending, self.model, self.format
        request, limit = plan_request(
            model.id,
            self.body,
            self.max_tokens,
            format_=format_,
            cache=self.cache,
            answers_too=model == self.answerer,
        )
        try:
            # Stage 3 sends the whole request. If a budget refuses that, a guideline would be paid for in vain.
            await refuse_unbounded(spending, self.answerer, format_, self.body)
            limits = await call_limits(spending, model, format_, request, default_output=limit)
            # The budget has to cover the complete guideline, because half of one is of no use.
            limits = replace(limits, least=limits.asked)
            async with paid(
                spending, stage=2, role="planner", model=model, format_=format_, limits=limits
            ) as call:
                answer = await complete(call, limits.within(request, limit))
        except ApiError as e:
            self.on_error(e)
            return None  # Stage 3 follows without a guideline. If the upstream is down, that call reports it.
        written = format_.written_text(decode_object(answer))
        return plan_in(written) or (NO_GUIDELINE_NEEDED if written.strip() else None)


def plan_request(
    model: str,
    body: Json,
    limit: int,
    *,
    format_: Conversation,
    cache: CacheUse = OFF,
    answers_too: bool = True,
) -> tuple[dict[str, Any], int]:
    """Return the planner's request body and its output limit, including room for hidden reasoning tokens.

    If the planner answers too, its request begins like that of stage 3, which then reads the prompt from the vendor's cache.
    The effort of reasoning is part of that beginning. So it is lowered only if the prompt is not cached. Another model
    shares no cache. It gets the client's messages and tools, and nothing is written into its cache of breakpoints.
    """
    if not answers_too:
        body = {name: value for name, value in body.items() if name not in _FOR_THE_ANSWERER}
    thinks = hides_reasoning(model, body)
    cached = answers_too and cache.fields != "off" and len(msgspec.json.encode(body)) >= CACHED_BYTES
    request, plain = format_.planner_body(body, effort="low" if thinks and not cached else None)
    shares_prefix = answers_too and plain
    if not thinks and format_.path == "/chat/completions":
        request["stop"] = [PLAN_ENDS]
    if cache.fields == "breakpoints" and not shares_prefix:
        request = format_.with_text(without_cache(request), prompts.GUIDELINE, apart=True)
    else:
        request = laid_out(format_, request, prompts.GUIDELINE, cache)
    return request, limit + (REASONING_ROOM if thinks else 0)
