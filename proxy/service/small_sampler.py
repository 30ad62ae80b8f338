"""Generate with the small model, and record every call, including those that are cut short."""

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.backends.affinity import Place, Server, call_headers
from proxy.cascade.confidence.open import lowest_run
from proxy.cascade.protocols import SmallRequest
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Sample
from proxy.errors import SmallRefusedError, SmallUnavailableError
from proxy.formats.sse import Accumulator
from proxy.ids import new_id, now
from proxy.pricing.prices import Usage, cost
from proxy.records import CallRecord
from proxy.service.request_log import RequestLog
from proxy.service.state import AppState
from proxy.tracing.trace import begin_call

_OPENAI_REASONS = {
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "end_turn", "tool_calls", "function_call"), "stop"),
    **dict.fromkeys(("max_length", "max_tokens", "model_length"), "length"),
}
"""Finish reasons of other servers, and of calls that could not be read, in OpenAI's words."""
_LEAST_LOGPROB = -9999.0
"""The number of OpenAI and vLLM for a token that is very unlikely."""


class RecordedSmall:
    """The cascade's `SmallTier`. It notes each call in the log of one request."""

    def __init__(self, state: AppState, request_log: RequestLog, place: Place) -> None:
        self._state = state
        self._request_log = request_log
        self._place = place

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer; see `proxy.cascade.protocols.SmallTier`."""
        return sample_of(request, await self._place.call(partial(self._call, request)))

    async def _call(self, request: SmallRequest, server: Server) -> Accumulator:
        """Make one call and record it."""
        generated = Accumulator()
        id_, started_at, clock = new_id("call"), now(), time.monotonic()
        trace_headers = begin_call(self._request_log.request.trace, id_)
        headers = {**call_headers(self._place, id_), **trace_headers}
        finish_reason: str | None = "error"
        error: str | None = None
        try:
            with self._request_log.model_time.running():
                await self._state.small.stream(server, request.body, generated, headers)
            finish_reason = generated.finish_reason
        except asyncio.CancelledError:
            finish_reason = "cancelled"
            raise
        except (SmallRefusedError, SmallUnavailableError) as e:
            error = str(e)
            raise
        finally:
            usage = generated.usage or Usage(completion_tokens=generated.chunks)
            price = self._state.small_price
            self._request_log.calls.append(
                CallRecord(
                    id=id_,
                    request_id=self._request_log.request.id,
                    key_id=self._request_log.request.key_id,
                    started_at=started_at,
                    stage=request.stage,
                    role=request.role,
                    tier="small",
                    model=self._state.small.model,
                    sample=request.index,
                    usage=usage,
                    cost=cost(price, usage),
                    price=price,
                    latency_ms=round((time.monotonic() - clock) * 1000),
                    finish_reason=finish_reason,
                    estimated=generated.usage is None,
                    error=error,
                    task=None if (task := self._request_log.task) is None else task.value,
                )
            )
        return generated


def sample_of(request: SmallRequest, generated: Accumulator) -> Sample:
    """Return a complete generation as a sample of the cascade. Tool calls written as text are read too."""
    message = with_calls(_with_usable_calls(generated.message), request.body.get("tools"))
    values = [value for token in generated.logprobs if (value := _logprob(token)) is not None]
    return Sample(
        index=request.index,
        message=message,
        finish_reason=_finish_reason(generated, called=bool(message.get("tool_calls"))),
        logprob=sum(values) / len(values) if values else None,
        usage=generated.usage or Usage(completion_tokens=generated.chunks),
        logprobs={"content": generated.logprobs, "refusal": None} if generated.logprobs else None,
        lowest_logprob=lowest_run(values),
    )


def _finish_reason(generated: Accumulator, *, called: bool) -> str:
    if called:
        return "tool_calls"
    given = generated.finish_reason
    return "stop" if given is None else _OPENAI_REASONS.get(given, given)


def _logprob(token: Mapping[str, Any]) -> float | None:
    """Return the log-probability of a token, or None if a server sent none that is a number. It is at most 0."""
    value = token.get("logprob")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(_LEAST_LOGPROB, min(0.0, float(value)))


def _with_usable_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without calls that name no function. Calls without an id get one."""
    given = message.get("tool_calls") or ()
    calls = [call for call in given if call["function"]["name"]]
    if len(calls) == len(given) and all(call["id"] for call in calls):
        return message
    named = [{**call, "id": call["id"] or _call_id(i, call)} for i, call in enumerate(calls)]
    rest = {k: v for k, v in message.items() if k != "tool_calls"}
    return {**rest, "tool_calls": named} if named else {**rest, "content": rest.get("content") or ""}


def _call_id(position: int, call: Mapping[str, Any]) -> str:
    written = f"{position} {call['function']['name']} {call['function']['arguments']}"
    return f"call_{hashlib.sha256(written.encode(errors='surrogatepass')).hexdigest()[:24]}"
