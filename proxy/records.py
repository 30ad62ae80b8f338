"""The frozen structs that flow from the cascade and the service into the ledger.

Times are UTC. Amounts are nano-USD. Durations are milliseconds.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from proxy.pricing.prices import Price, Usage

Stage = Literal[1, 2, 3]
Role = Literal["planner", "executor"]
Tier = Literal["small", "large"]
Scope = Literal["session", "key", "user", "tag", "global"]
Window = Literal["total", "day", "week", "month"]


class CallRecord(Struct, frozen=True, tag=True):
    """One model call, whole or cut short."""

    id: str
    request_id: str
    key_id: str | None
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
    overrun: bool = False  # the upstream ignored its bounds: the call cost more than was reserved


class PlanRecord(Struct, frozen=True, tag=True):
    """A goal or a guideline. Kept only when `ledger.store_content` is on."""

    request_id: str
    stage: Stage
    kind: Literal["goal", "guideline"]
    sample: int | None
    text: str
    chosen: bool  # the goal carried over into stage 2, or the guideline used


class StageRecord(Struct, frozen=True):
    """How one sampled stage was decided: "6 of 7 drawn, accepted"."""

    stage: Stage
    drawn: int  # samples that finished
    planned: int  # n
    agreed: int  # size of the largest group
    confidence: float
    threshold: float
    accepted: bool


class RequestRecord(Struct, frozen=True, tag=True):
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
    reason: str | None  # why the small tier, or its second stage, was passed over: "image input"
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
    tags: tuple[str, ...] = ()  # "key=value" of the body's metadata
    stages: tuple[StageRecord, ...] = ()
    prompt: str | None = None  # canonical JSON of the messages; only when content is stored
    answer: str | None = None  # likewise


class BudgetRef(Struct, frozen=True):
    """A budget that a paid call counts against, in one window.

    `limit` is `None` for a session whose budget, if it has one, was set by an earlier request.
    """

    scope: Scope
    name: str  # session, key id, end user, "key=value" of a tag, or "" for the global one
    limit: int | None
    window: Window
    window_start: datetime
    owner: str = ""  # the key that opened a session


class Reservation(Struct, frozen=True, tag="Hold"):
    """Money set aside for one paid call before it goes out."""

    id: str  # the id of the call it pays for
    request_id: str
    model: str
    amount: int
    created_at: datetime
    expires_at: datetime  # when no settlement has come by then, the process has died


class Settlement(Struct, frozen=True, tag="Settle"):
    """The end of a hold: what its call has cost."""

    reservation_id: str = msgspec.field(name="hold_id")
    cost: int


Record = RequestRecord | CallRecord | PlanRecord | Reservation | Settlement
"""What goes through the journal into the database."""
