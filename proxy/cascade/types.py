"""The records that flow through the cascade."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final, Literal

from proxy.pricing.prices import Usage
from proxy.records import Stage

Json = Mapping[str, Any]
"""A decoded JSON object. Do not change it in place."""


class TaskKind(StrEnum):
    """The task kinds. Each one has a row in `proxy.cascade.kinds`."""

    MATH = "math"
    CHOICE = "choice"
    CODE = "code"
    AGENT = "agent"
    STRUCTURED = "structured"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Task:
    """A chat request as the cascade sees it.

    `body` is the client's decoded request. `text` is the last user message as plain text. `inputs` returns the calls that
    the small model wrote when it was asked for inputs of the function, or "". It is `None` if nobody asked.
    """

    kind: TaskKind
    body: Json
    text: str
    inputs: Callable[[], Awaitable[str]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One complete answer of the small model.

    Attributes:
        index: the position among the n samples of its stage, from 0.
        message: the assistant message (`role`, `content`, perhaps `tool_calls`) in OpenAI's form.
        finish_reason: "stop", "length", "tool_calls", ...
        logprob: mean log-probability of the generated tokens (natural log, <= 0), or `None` if the model sent none.
        usage: tokens as the model reported them.
        logprobs: the `logprobs` object for the client, if the client asked for it.
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
        """The text of the answer. It is empty if the answer is a tool call."""
        return self.message.get("content") or ""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The samples drawn so far and the group that each one joined.

    `votes[i]` is the group label of `samples[i]`. It is `None` if the sample joins no group, because it has no answer, is
    invalid or was cut off. Samples are in the order in which they finished.
    """

    samples: tuple[Sample, ...] = ()
    votes: tuple[str | None, ...] = ()

    def groups(self) -> dict[str, list[Sample]]:
        """Return the samples by label, in order of first appearance. Samples without a vote are not included."""
        out: dict[str, list[Sample]] = {}
        for sample, vote in zip(self.samples, self.votes, strict=True):
            if vote is not None:
                out.setdefault(vote, []).append(sample)
        return out


@dataclass(frozen=True, slots=True)
class Standing:
    """The bounds of the final confidence while samples are still outstanding.

    Attributes:
        low: the lowest final confidence that the outstanding samples can lead to.
        high: the highest one. It equals `low` once no sample is outstanding.
        winner: the sample to return if sampling ended now, or `None` if no sample can be returned.
        fixed: True if no outstanding sample can put another group ahead of the winner's.
    """

    low: float
    high: float
    winner: Sample | None
    fixed: bool


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run in the sandbox.

    Attributes:
        sources: the source text and alternative readings of it. The first one that runs is used.
        checks: statements that must run without an error after the program.
        probes: calls of a function, `name(arguments)`. Their effects are reported.
    """

    sources: tuple[str, ...]
    checks: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The result of running a program.

    `passed` is True if the program ran and all checks passed. `outcomes` has one text for each probe.
    """

    passed: bool
    outcomes: tuple[str, ...] = ()


class MissingLogprobsError(Exception):
    """A confidence needs token log-probabilities, but the model sent none."""


class NoGuideline(Enum):
    """The planner's reply if it finds that the task needs no guideline."""

    NOT_NEEDED = "not needed"


NO_GUIDELINE_NEEDED: Final = NoGuideline.NOT_NEEDED

Guideline = str | NoGuideline
"""A planner's reply: the text of a guideline, or `NO_GUIDELINE_NEEDED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A goal of the small planner or a guideline of the large one, made before execution.

    `chosen` is True if stage 2 was given this plan.
    """

    kind: Literal["goal", "guideline"]
    text: str
    stage: Stage
    sample: int | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class KeptPlans:
    """The plans kept from an earlier turn of the conversation. `None`: no such plan was made."""

    goal: str | None = None
    guideline: Guideline | None = None


Plans = Literal["all", "goals", "none"]
"""Which plans to make: goals and the guideline, goals alone, or none. Stage 2 runs only with a guideline."""


@dataclass(frozen=True, slots=True)
class StagePolicy:
    """How one stage samples and accepts: the confidence that it needs and its sampling temperature."""

    threshold: float
    temperature: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one request runs: the config's values, narrowed by the request's headers.

    Attributes:
        samples: the number of samples that each stage draws at most.
        stages: stages 1 and 2.
        inclusive: True to accept a confidence that equals the threshold.
        max_stage: the last stage that may run.
        plans: which plans to make.
        plan_max_tokens: the output limit of a plan.
        plan_temperature: the sampling temperature of the small planner.
        early_stop: True to stop sampling once the outcome is certain.
        stop_error: also stop once the outcome would change with at most this probability.
        speculate_from: plan the guideline early if stage 1 escalates with at least this probability. A value above 1 means
            never.
    """

    samples: int
    stages: tuple[StagePolicy, StagePolicy]
    inclusive: bool
    max_stage: Stage
    plans: Plans
    plan_max_tokens: int
    plan_temperature: float
    early_stop: bool
    stop_error: float
    speculate_from: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The small model answered."""

    stage: Stage
    sample: Sample
    confidence: float


@dataclass(frozen=True, slots=True)
class NotTried:
    """The small model was not asked for an answer, or could not give one."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """No stage of the small model reached its threshold.

    Attributes:
        best: the best local answer, or `None` if no sample is valid. It is used if the large model may not be asked.
        best_stage: the stage of that answer.
        confidence: the confidence of that stage.
        guideline: the guideline for stage 3, or `None` if there is none.
        stopped: why the budget did not cover the guideline, or `None` if it did.
    """

    best: Sample | None
    best_stage: Stage
    confidence: float
    guideline: str | None = None
    stopped: str | None = None


def digest(text: str) -> str:
    """Return a short stable label for a long value."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
