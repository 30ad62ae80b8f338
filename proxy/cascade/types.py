"""What flows through the cascade, and the protocols by which it reaches the outside."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from proxy.pricing.prices import Usage
from proxy.records import Stage

Json = Mapping[str, Any]
"""A decoded JSON object, not to be changed in place."""


class TaskKind(StrEnum):
    """Task kinds. Each has an estimator of its own in `proxy.cascade.confidence`."""

    MATH = "math"
    CHOICE = "choice"
    CODE = "code"
    AGENT = "agent"
    STRUCTURED = "structured"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Task:
    """A chat request as the cascade sees it.

    `body` is the client's request, decoded. `text` is the last user message as plain text.
    """

    kind: TaskKind
    body: Json
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One whole answer of the small model.

    Attributes:
        index: which of the n samples of its stage, from 0.
        message: the assistant message (`role`, `content`, maybe `tool_calls`), as OpenAI shapes it.
        finish_reason: "stop", "length", "tool_calls", ...
        logprob: mean log-probability of the generated tokens (natural log, <= 0); `None` when the model
            sent none.
        usage: tokens, as the model reported them.
        logprobs: the `logprobs` object for the client, when it asked for it.
        lowest_logprob: the same mean over the least likely run of tokens (see `confidence.open`).
    """

    index: int
    message: Json
    finish_reason: str
    logprob: float | None
    usage: Usage
    logprobs: Json | None = None
    lowest_logprob: float | None = None

    @property
    def text(self) -> str:
        """The answer's text; empty when it is a tool call."""
        return self.message.get("content") or ""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The samples drawn so far and the group that each one joined.

    `votes[i]` is the group label of `samples[i]`; `None` means that it stands alone (no answer found,
    invalid, cut off). Samples are in the order in which they finished.
    """

    samples: tuple[Sample, ...] = ()
    votes: tuple[str | None, ...] = ()

    def groups(self) -> dict[str, list[Sample]]:
        """Return the samples by label, labels in order of first appearance; lone samples are left out."""
        out: dict[str, list[Sample]] = {}
        for sample, vote in zip(self.samples, self.votes, strict=True):
            if vote is not None:
                out.setdefault(vote, []).append(sample)
        return out


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known about the final confidence while samples are still outstanding.

    The final confidence lies in `low..high` whatever the outstanding samples say; with none outstanding
    the two are equal. `winner` is the sample to return if the ballot closed now, `None` when no sample
    can be returned. `fixed` says that no outstanding sample can put another *group* ahead of the winner's.
    """

    low: float
    high: float
    winner: Sample | None
    fixed: bool


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run.

    Attributes:
        sources: its text, and other readings of it; the first one that runs counts.
        checks: statements that have to run without an error after it.
        probes: calls of a function, `name(arguments)`, of which is wanted what they do.
    """

    sources: tuple[str, ...]
    checks: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a program did: whether it could be run and told of itself, whether all checks passed, the probes' values."""

    loaded: bool
    passed: bool
    outcomes: tuple[str, ...] = ()


class MissingLogprobsError(Exception):
    """A confidence needs token log-probabilities and the model sent none. Never read as confidence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A goal (small planner) or a guideline (large planner), made before execution."""

    kind: Literal["goal", "guideline"]
    text: str
    stage: Stage
    sample: int | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The plans that an earlier turn of the conversation has left: its goal and its guideline, as far as there are any.

    An empty guideline is one that the planner found needless.
    """

    goal: str | None = None
    guideline: str | None = None


Plans = Literal["all", "goals", "none"]
"""Which plans are made: the goals of stage 1 and the guideline, the goals alone, or none. Stage 2 needs a guideline."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How one request runs: the config's values, narrowed by its headers.

    Temperatures are sampling temperatures; thresholds are confidences in 0..1.
    """

    samples: int
    threshold1: float
    threshold2: float
    inclusive: bool  # accept at equality
    max_stage: Stage
    plans: Plans
    plan_max_tokens: int
    early_stop: bool
    stop_error: float  # also stop sampling once the verdict would change with no more than this chance
    speculate_from: float  # plan the guideline ahead from this chance of an escalation on; above 1: never
    plan_temperature: float
    temperature1: float
    temperature2: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The small tier answered."""

    stage: Stage
    sample: Sample
    confidence: float


@dataclass(frozen=True, slots=True)
class Escalated:
    """The small tier is not sure enough. `best` is its best answer, should money or `max_stage` forbid more."""

    guideline: str | None = None
    best: Sample | None = None
    best_stage: Stage | None = None
    confidence: float | None = None
    stopped: str | None = None  # why the guideline could not be paid for


def digest(text: str) -> str:
    """Return a short stable label for a long value."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
