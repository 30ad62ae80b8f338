"""The frozen structs that flow from the cascade and the service into the ledger, and the closed vocabularies.

Times are UTC. Amounts are nano-USD. Durations are milliseconds.
"""

import math
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from proxy.pricing.prices import Price, Usage

Stage = Literal[1, 2, 3]
Role = Literal["planner", "executor"]
Tier = Literal["small", "large"]
Mode = Literal["cascade", "small", "large"]
Scope = Literal["session", "key", "team", "user", "tag", "global"]
Window = Literal["total", "day", "week", "month"]
PromptCache = Literal["off", "key", "breakpoints"]
"""The fields of OpenAI's prompt cache that an upstream's model knows."""


class CallRecord(Struct, frozen=True, kw_only=True, tag=True):
    """One model call, complete or interrupted."""

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
    estimated: bool  # the model reported no usage: it was counted here
    vote: str | None = None  # the sample's vote, shortened
    error: str | None = None
    task: str | None = None  # the kind of its request's task: for the counters, no column of the call
    overrun: bool = False  # the upstream exceeded its output limit: the call cost more than was reserved


class PlanRecord(Struct, frozen=True, kw_only=True, tag=True):
    """A goal or a guideline. Kept only when `ledger.store_content` is on."""

    request_id: str
    stage: Stage
    kind: Literal["goal", "guideline"]
    sample: int | None
    text: str
    chosen: bool  # the goal that stage 2 used, or the guideline that the samples followed


class StageRecord(Struct, frozen=True, kw_only=True):
    """How one sampled stage was decided, for example "6 of 7 drawn, accepted"."""

    stage: Stage
    drawn: int  # samples that finished
    planned: int  # n
    agreed: int  # size of the largest group
    confidence: float
    threshold: float
    accepted: bool


class Attribution(Struct, frozen=True, kw_only=True):
    """Where the spend of a key belongs. Requests keep that of their key when they began."""

    team: str | None = None
    cost_center: str | None = None
    environment: str | None = None


UNATTRIBUTED = Attribution()


class RequestSummary(Struct, frozen=True, kw_only=True):
    """One request as its client saw it, without its content."""

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
    reason: str | None  # why the small tier, or its second stage, was skipped: "image input"
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
    team: str | None = None  # of the key when the request began, here and below
    cost_center: str | None = None
    environment: str | None = None
    config: str | None = None  # the digest of the config; None for rows of older versions
    sent_tokens: int = 0  # prompt tokens of all calls of the large model
    read_tokens: int = 0  # the part of them that the upstream read from its cache
    written_tokens: int = 0  # and the part that it wrote into its cache


class RequestRecord(RequestSummary, frozen=True, kw_only=True, tag=True):
    """One request as it is written: its summary, its stages and, if content is stored, its content."""

    stages: tuple[StageRecord, ...] = ()
    prompt: str | None = None  # canonical JSON of the messages
    answer: str | None = None  # its text, or JSON of its choices


class BudgetRef(Struct, frozen=True, kw_only=True):
    """A budget that a paid call counts against, in one window.

    `limit` is `None` for a session if this request's headers set no budget. An earlier request may have set one.
    """

    scope: Scope
    name: str  # session, key id, team, end user, "key=value" of a tag, or "" for the global one
    limit: int | None
    window: Window
    window_start: datetime
    owner: str = ""  # the key of a session: sessions of two keys may have the same name


class Reservation(Struct, frozen=True, kw_only=True, tag="Hold"):
    """Money reserved for one paid call before it goes out. Older processes wrote the tag: it stays."""

    id: str  # the id of the call
    request_id: str
    model: str
    amount: int
    created_at: datetime
    expires_at: datetime  # if it is not settled by then, its process has died


class Settlement(Struct, frozen=True, tag="Settle"):
    """The end of a reservation and the cost of its call. Older processes wrote tag and `hold_id`: they stay."""

    reservation_id: str = msgspec.field(name="hold_id")
    cost: int


class Draw(Struct, frozen=True, kw_only=True, tag=True):
    """A reservation whose money comes from a lease of its process. See `proxy.ledger.leases`.

    `left` makes it safe to read a draw twice: a lease that has as little left already has had this draw.
    """

    reservation: Reservation
    lease: str
    left: int  # of the lease after this draw


class LeaseEnd(Struct, frozen=True, tag=True):
    """The end of a lease: its process draws no more from it, and gives the rest back."""

    lease: str


Record = RequestRecord | CallRecord | PlanRecord | Reservation | Settlement | Draw | LeaseEnd
"""A record that goes through the journal into the database."""


MOST = 10**15
"""The highest number in a record: a million USD for one call. Thousands of such rows fit into a 64-bit sum."""
LONGEST_NAME = 2400
"""The longest text, in bytes of UTF-8, that an index of Postgres takes beside the other columns of a key."""
_CONTENT = ("prompt", "answer", "text")
_KEPT = (
    "id", "request_id", "key_id", "reservation_id", "lease", "role", "tier", "kind", "task", "mode", "team",
    "cost_center", "environment",
)  # fmt: skip
_NO_NAMES = ("*", "unattributed")
"""Names with a meaning of their own: in the config, and in reports."""
LONGEST_ATTRIBUTION = 64

_ALWAYS_STORABLE = frozenset({bool, type(None), datetime})
_NESTED = frozenset({Usage, Price, Reservation})
_SHORT = LONGEST_NAME // 4
"""So many characters are never too long for a name, whatever they are."""

S = TypeVar("S")


def storable_text(text: str) -> str:
    """Return a text that every database and encoder takes: without NUL, and without halves of characters.

    Two halves that belong together become the character that they stand for.
    """
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def storable_name(text: str) -> str:
    """Return a storable text that is short enough for an index."""
    text = storable_text(text)
    if 4 * len(text) <= LONGEST_NAME:
        return text
    return text.encode()[:LONGEST_NAME].decode("utf-8", "ignore")


def attribution_name(text: str) -> str:
    """Return the name of a team, a cost center or an environment, in one form for all spellings of its letters.

    Raises:
        ValueError: it is no such name. The message has the reason.
    """
    name = unicodedata.normalize("NFC", text[: 4 * LONGEST_ATTRIBUTION]).strip()
    if not name or len(name) > LONGEST_ATTRIBUTION or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST_ATTRIBUTION} visible characters on one line")
    if name.casefold() in _NO_NAMES:
        raise ValueError(f"{name!r} has a meaning of its own; choose another name")
    return name


def storable(record: S) -> S:
    """Return a record that every database takes: storable texts, finite numbers, and integers in 0..MOST.

    Only content keeps its length. The record itself is returned if nothing has to be changed.
    """
    return record if _is_plain(record) else _changed(record, _storable_value)


def _is_plain(record: Any) -> bool:
    """Whether types and sizes alone show that a record is storable, as those of almost every one do.

    It is one loop with few calls, because each request has about a hundred values.
    """
    whole: Any = type(record)
    for value in _values_of(whole)(record):
        kind = type(value)
        if kind in _ALWAYS_STORABLE:
            continue
        if kind is int:
            plain = 0 <= value <= MOST
        elif kind is str:
            plain = len(value) <= _SHORT and value.isascii() and "\0" not in value
        elif kind is float:
            plain = math.isfinite(value)
        else:
            plain = value == () or (kind in _NESTED and _is_plain(value))
        if not plain:
            return False
    return True


@cache
def _values_of(kind: Any) -> Callable[[Any], tuple[Any, ...]]:
    return msgspec.structs.astuple if issubclass(kind, Struct) else attrgetter(*_names_of(kind))


def storable_budget(ref: BudgetRef) -> BudgetRef:
    """Return a budget with a storable name. Its limit stays."""
    name, owner = storable_name(ref.name), storable_name(ref.owner)
    if name is ref.name and owner is ref.owner:
        return ref
    return msgspec.structs.replace(ref, name=name, owner=owner)


def without_texts(record: S) -> S:
    """Return a record that keeps its ids, times and numbers, and has "?" for its texts and no details."""
    return _changed(record, lambda name, value: value if name in _KEPT else _textless(value))


def _changed(record: S, change: Callable[[str, Any], Any]) -> S:
    changes: dict[str, Any] = {}
    kind: Any = type(record)
    for name in _names_of(kind):
        old = getattr(record, name)
        if (new := change(name, old)) is not old:
            changes[name] = new
    if not changes:
        return record
    copy: Callable[..., Any] = msgspec.structs.replace if isinstance(record, Struct) else replace
    changed: S = copy(record, **changes)
    return changed


@cache
def _names_of(kind: Any) -> tuple[str, ...]:
    names = kind.__struct_fields__ if issubclass(kind, Struct) else (f.name for f in fields(kind))
    return tuple(names)


def _storable_value(name: str, value: Any) -> Any:
    kind = type(value)
    # Most values are such, and each request has about a hundred of them.
    if kind in _ALWAYS_STORABLE or (kind is int and 0 <= value <= MOST):
        return value
    match value:
        case str():
            return storable_text(value) if name in _CONTENT else storable_name(value)
        case bool() | None | datetime():
            return value
        case int():
            return value if 0 <= value <= MOST else max(0, min(value, MOST))
        case float():
            if math.isfinite(value):
                return value
            return 0.0 if math.isnan(value) else math.copysign(sys.float_info.max, value)
        case tuple():
            new = tuple(_storable_value(name, v) for v in value)
            return value if all(a is b for a, b in zip(new, value, strict=True)) else new
        case _ if isinstance(value, Struct) or is_dataclass(value):
            return _changed(value, _storable_value)
    return value


def _textless(value: Any) -> Any:
    match value:
        case str():
            return "?"
        case tuple():
            return ()
    return value
