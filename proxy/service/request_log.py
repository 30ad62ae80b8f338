"""The facts that are noted while one request is answered."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.cascade.engine import CascadeLog
from proxy.cascade.types import TaskKind
from proxy.concurrency import BusyTime
from proxy.records import CallRecord, Stage
from proxy.service.audit_queue import AuditJob
from proxy.service.request import ModelRequest
from proxy.service.routing import Route


@dataclass(kw_only=True)
class RequestLog:
    """The facts known so far about one request. Amounts are nano-USD."""

    request: ModelRequest
    route: Route
    config: str | None = None
    """The digest of the config."""
    clock: float = field(default_factory=time.monotonic)
    """The arrival of the request, by `time.monotonic`."""

    task: TaskKind | None = None
    cascade_log: CascadeLog = field(default_factory=CascadeLog)
    reason: str | None = None
    """Why the small model, or its second stage, was skipped."""
    calls: list[CallRecord] = field(default_factory=list)
    model_time: BusyTime = field(default_factory=BusyTime)
    """The time with a model call under way."""
    audit: AuditJob | None = None
    """The audit of this request, if it was drawn for one."""

    stage: Stage | None = None
    """The stage that answered."""
    model: str | None = None
    confidence: float | None = None
    degraded: str | None = None
    answer: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    baseline: int | None = None
    remaining: int | None = None
    upstream_headers: Mapping[str, str] = field(default_factory=dict)
    first_token_ms: int | None = None

    status: int = 200
    error: str | None = None

    @property
    def mode(self) -> str:
        """The mode that runs, or "audit" for a request of the proxy itself."""
        return self.route.mode if self.request.audits is None else "audit"

    @property
    def cost(self) -> int:
        """The cost of all calls so far."""
        return sum(call.cost for call in self.calls)

    @property
    def cached_tokens(self) -> int | None:
        """The prompt tokens that the large model's calls read from the upstream's cache, or `None` without such calls."""
        large = [call.usage.cached_tokens for call in self.calls if call.tier == "large"]
        return sum(large) if large else None

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the request arrived."""
        return round((time.monotonic() - self.clock) * 1000)

    def overhead_s(self) -> float:
        """Return the seconds since the request arrived without a model call under way."""
        return max(0.0, time.monotonic() - self.clock - self.model_time.seconds)

    def note_first_token(self) -> None:
        """Note that the answer begins now. Later calls do nothing."""
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms()

    def note_error(self, status: int, error: str) -> None:
        """Note how the request failed."""
        self.status, self.error = status, error
