"""The frozen structs that flow from the cascade and the service into the ledger.

Times are UTC. Amounts are nano-USD. Durations are milliseconds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from proxy.pricing.prices import Price, Usage

Stage = Literal[1, 2, 3]
Role = Literal["planner", "executor"]
Tier = Literal["small", "large"]
Scope = Literal["session", "key", "global"]
Window = Literal["total", "day", "month"]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One model call, whole or cut short."""

    id: str
    request_id: str
    started_at: datetime
    stage: Stage
    role: Role
    tier: Tier
    model: str
    sample: int | None  # index among the samples of its stage; None for a call that is not sampled
    usage: Usage
    cost: int
    price: Price
    latency_ms: int
    finish_reason: str | None  # the model's own, or "cancelled" | "error" | "timeout" | "disconnected"
    estimated: bool  # usage was counted here because the model did not report it
    vote: str | None = None  # what the sample stands for in the ballot, shortened
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A goal or a guideline. Kept only when `ledger.store_content` is on."""

    request_id: str
    stage: Stage
    kind: Literal["goal", "guideline"]
    sample: int | None
    text: str
    chosen: bool  # the goal carried over into stage 2, or the guideline used


@dataclass(frozen=True, slots=True)
class StageRecord:
    """How one sampled stage was decided: "6 of 7 drawn, accepted"."""

    stage: Stage
    drawn: int  # samples that finished
    planned: int  # n
    agreed: int  # size of the largest group
    confidence: float
    threshold: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as its client saw it."""

    id: str
    started_at: datetime
    key_id: str | None
    session: str | None
    user: str | None
    task: str | None
    mode: str
    stage: Stage | None  # the stage that answered
    confidence: float | None
    status: int
    reason: str | None  # why the small tier was passed over, e.g. "image input"
    degraded: str | None
    requested_model: str
    model: str | None  # the model that answered
    prompt_tokens: int
    completion_tokens: int
    cost: int
    baseline: int | None
    latency_ms: int
    first_token_ms: int | None
    stream: bool
    error: str | None
    stages: tuple[StageRecord, ...] = ()
    prompt: str | None = None  # canonical JSON of the messages; only when content is stored
    answer: str | None = None  # likewise


@dataclass(frozen=True, slots=True)
class BudgetRef:
    """A budget that a paid call counts against. `limit` creates it, or lowers it when it is lower."""

    scope: Scope
    name: str  # session id, key id, or "" for the global one
    limit: int
    window: Window = "total"
    owner: str = ""  # the key that opened a session


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one paid call before it goes out."""

    id: str  # the id of the call it pays for
    request_id: str
    model: str
    amount: int
    budgets: tuple[BudgetRef, ...]
    created_at: datetime
    expires_at: datetime  # when no settlement has come by then, the process has died
