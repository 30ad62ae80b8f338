"""The large planner: one guideline, paid."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.cascade.prompts import PLAN_ENDS, plan_in
from proxy.cascade.types import NO_GUIDELINE_NEEDED, Guideline, Json
from proxy.config.schema import LargeModel
from proxy.errors import ApiError
from proxy.formats.base import CallLimits
from proxy.formats.chat import Chat
from proxy.pricing.tokens import hides_reasoning
from proxy.service.request_log import RequestLog
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget
from proxy.spending.calls import complete
from proxy.spending.paid import paid

REASONING_ROOM = 1024
"""Tokens that a reasoning planner may think beside the guideline that it writes."""


_PLAN_FIELDS = (
    "messages",
    "reasoning_effort",
    "user",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
)


class PaidPlanner:
    """The cascade's `LargePlanner`: pays for one guideline."""

    def __init__(
        self, state: AppState, budget: RequestBudget, request_log: RequestLog, model: LargeModel
    ) -> None:
        self._state, self._budget, self._request_log, self._model = state, budget, request_log, model

    async def guideline(self, body: Mapping[str, Any]) -> Guideline | None:
        """Pay for one guideline; see `proxy.cascade.protocols.LargePlanner`."""
        chat, limit = Chat(), self._state.settings.cascade.plan_max_tokens
        asked, limit = plan_request(self._model.id, body, limit)
        prompt = await asyncio.to_thread(chat.count, self._model.id, asked)
        # Whole or not at all: half a guideline is none.
        bound = CallLimits(limit, limit, "max_completion_tokens", prompt=prompt)
        try:
            async with paid(
                self._state, self._budget, self._request_log,
                stage=2, role="planner", model=self._model, format_=chat, bound=bound,
            ) as call:  # fmt: skip
                answer = msgspec.json.decode(await complete(self._state, call, bound.within(asked, limit)))
        except ApiError:
            return None  # stage 3 follows without it; should the upstream be down, that call says so
        written = answer["choices"][0]["message"].get("content") or ""
        return plan_in(written) or (NO_GUIDELINE_NEEDED if written.strip() else None)


def plan_request(model: str, body: Json, limit: int) -> tuple[dict[str, Any], int]:
    """Return what is asked of a planner, and its output bound in tokens, what it thinks unseen included."""
    asked = {k: body[k] for k in _PLAN_FIELDS if k in body}
    if not hides_reasoning(model, asked):
        return asked | {"stop": [PLAN_ENDS]}, limit
    asked.setdefault("reasoning_effort", "low")
    return asked, limit + REASONING_ROOM
