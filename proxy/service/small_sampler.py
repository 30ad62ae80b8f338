"""Generations of the small tier, each one recorded, also when it is cut short."""

import asyncio
import time

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


class RecordedSmall:
    """The cascade's `SmallTier`: one pool, and the request_log of one request."""

    def __init__(self, state: AppState, request_log: RequestLog) -> None:
        self._state = state
        self._request_log = request_log

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer; see `proxy.cascade.protocols.SmallTier`."""
        into = Accumulator()
        started_at, clock = now(), time.monotonic()
        finish: str | None = "error"
        problem: str | None = None
        try:
            await self._state.small.stream(request.body, into)
            finish = into.finish_reason
        except asyncio.CancelledError:
            finish = "cancelled"
            raise
        except (SmallRefusedError, SmallUnavailableError) as e:
            problem = str(e)
            raise
        finally:
            usage = into.usage or Usage(completion_tokens=into.chunks)
            price = self._state.small_price
            self._request_log.calls.append(
                CallRecord(
                    id=new_id("call"),
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
                    finish_reason=finish,
                    estimated=into.usage is None,
                    error=problem,
                )
            )
        return sample_of(request, into)


def sample_of(request: SmallRequest, generated: Accumulator) -> Sample:
    """Return a whole generation as the cascade sees it, its tool calls read also where the text holds them."""
    message = with_calls(generated.message, request.body.get("tools"))
    called = bool(message.get("tool_calls"))
    return Sample(
        index=request.index,
        message=message,
        finish_reason="tool_calls" if called else generated.finish_reason or "stop",
        logprob=generated.logprob,
        usage=generated.usage or Usage(completion_tokens=generated.chunks),
        logprobs={"content": generated.logprobs, "refusal": None} if generated.logprobs else None,
        lowest_logprob=lowest_run([t["logprob"] for t in generated.logprobs if t.get("logprob") is not None]),
    )
