"""The large planner: one paid guideline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.cascade.prompts import PLAN_ENDS, plan_in
from proxy.cascade.types import NO_GUIDELINE_NEEDED, Guideline, Json
from proxy.config.schema import LargeModel
from proxy.errors import ApiError
from proxy.formats.chat import Chat
from proxy.formats.generated import shown_text
from proxy.formats.lenient import an_object, decode_object, mended, objects
from proxy.pricing.tokens import hides_reasoning
from proxy.spending.calls import complete
from proxy.spending.limits import call_limits, refuse_unbounded
from proxy.spending.paid import Spending, paid

REASONING_ROOM = 1024
"""Tokens that a reasoning model may think in addition to the text that it writes."""


_PLAN_FIELDS = ("messages", "reasoning_effort", "user", "prompt_cache_key", "safety_identifier")
"""What a guideline has from its request. A service tier is missing: a guideline is short, and is paid at the list price."""


class PaidPlanner:
    """The cascade's `LargePlanner`: it pays for each guideline."""

    def __init__(self, spending: Spending, model: LargeModel, max_tokens: int) -> None:
        self._spending, self._model, self._max_tokens = spending, model, max_tokens

    async def guideline(self, body: Mapping[str, Any]) -> Guideline | None:
        """Pay for one guideline. See `proxy.cascade.protocols.LargePlanner`."""
        chat = Chat()
        request, limit = plan_request(self._model.id, body, self._max_tokens)
        try:
            # Stage 3 sends the whole request. If a budget refuses that, a guideline would be paid for in vain.
            await refuse_unbounded(self._spending, self._model, chat, body)
            limits = await call_limits(self._spending, self._model, chat, request, default_output=limit)
            # The budget has to cover the complete guideline, because half of one is of no use.
            limits = replace(limits, least=limits.asked)
            async with paid(
                self._spending, stage=2, role="planner", model=self._model, format_=chat, limits=limits
            ) as call:
                written = _text(await complete(call, limits.within(request, limit)))
        except ApiError:
            return None  # Stage 3 follows without a guideline. If the upstream is down, that call reports it.
        return plan_in(written) or (NO_GUIDELINE_NEEDED if written.strip() else None)


def _text(completion: bytes) -> str:
    """Return the text of a completion, or "" if it has none."""
    choices = objects(decode_object(completion).get("choices"))
    return mended(shown_text(an_object(choices[0].get("message")).get("content"))) if choices else ""


def plan_request(model: str, body: Json, limit: int) -> tuple[dict[str, Any], int]:
    """Return the planner's request body and its output limit, including room for hidden reasoning tokens."""
    request = {k: body[k] for k in _PLAN_FIELDS if k in body}
    if not hides_reasoning(model, request):
        return request | {"stop": [PLAN_ENDS]}, limit
    request.setdefault("reasoning_effort", "low")
    return request, limit + REASONING_ROOM
