"""Generate with the small model, and record every call, including those that are cut short."""

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
    """The cascade's `SmallTier`. It notes each call in the log of one request."""

    def __init__(self, state: AppState, request_log: RequestLog) -> None:
        self._state = state
        self._request_log = request_log

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer; see `proxy.cascade.protocols.SmallTier`."""
        generated = Accumulator()
        started_at, clock = now(), time.monotonic()
        finish_reason: str | None = "error"
        error: str | None = None
        try:
            await self._state.small.stream(request.body, generated)
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
                    finish_reason=finish_reason,
                    estimated=generated.usage is None,
                    error=error,
                )
            )
        return sample_of(request, generated)


def sample_of(request: SmallRequest, generated: Accumulator) -> Sample:
    """Return a complete generation as a sample of the cascade. Tool calls written as text are read too."""
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
