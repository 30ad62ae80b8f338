"""One item through both tiers, with every call that some mode needs. All comparisons are computed from trials."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from proxy.cascade import detection, prompts
from proxy.cascade.engine import CascadeLog, decide
from proxy.cascade.fields import unserved
from proxy.cascade.guard import safe_estimator
from proxy.cascade.protocols import Estimator
from proxy.cascade.sampling import Verdict
from proxy.cascade.types import Json, KeptPlans, Policy, Unsure
from proxy.cascade.wording import is_answer
from proxy.config.controls import Controls
from proxy.config.policy import NEVER, policy, runner_for
from proxy.errors import ConfigError, NoBudgetError
from proxy.evals.items import Item
from proxy.evals.record import Answer
from proxy.evals.sampler import Sampler
from proxy.evals.tiers import Tiers
from proxy.records import Stage
from proxy.service.conversation_key import conversation_digest

Grader = Callable[[Item, Json], Awaitable[float]]
"""Returns the score of an assistant message, 0..1."""


class Drawn(msgspec.Struct, frozen=True):
    """One sample of a ballot: its vote, its score (0..1), its tokens and their mean log-probability.

    `answers` is False for a sample that only votes, such as a program in mathematics. Its score is then 0.
    """

    vote: str | None
    score: float
    tokens: int
    logprob: float | None
    answers: bool = True


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """A ballot of n samples.

    Attributes:
        confidence: the confidence in the winning answer.
        score: the score of that answer, 0..1.
        samples: the samples by index.
        cost: the cost of the small model's calls in nano-USD, with its own plans.
        answered: whether any answer won. Without a valid answer, the stage has nothing to accept.
    """

    confidence: float
    score: float
    samples: list[Drawn] = []
    cost: int = 0
    answered: bool = True


class Paid(msgspec.Struct, frozen=True):
    """An answer of the large model: its score (0..1), its cost in nano-USD without a guideline, and its tokens."""

    score: float
    cost: int
    tokens: int


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """Stages 2 and 3 under the guideline of one planner.

    Attributes:
        planner: the planner's name, or "" for the large model itself.
        cost: the cost of the guideline in nano-USD.
        second: the vote of stage 2, or `None` if the planner wrote no guideline.
        guided: the large model with the guideline, which is stage 3.
    """

    planner: str = ""
    cost: int
    second: Vote | None
    guided: Paid


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """All results of one item.

    Attributes:
        item: the item's id.
        task: the item's task kind.
        detected: the task kind that the proxy detects.
        usual: the default thresholds of the estimator.
        single: the mean score of one plain sample of the small model that is an answer for a client.
        plain: the vote of n samples without a plan.
        first: the vote of stage 1.
        second: the vote of stage 2, or `None` if the large planner wrote no guideline.
        plan_cost: the cost of the guideline in nano-USD.
        large: the large model alone.
        guided: the large model with the guideline, which is stage 3.
        separate: stages 2 and 3 under the guideline of `cascade.planner`, if that is another model.
        size: the bytes of the item's request, or 0 in a run of an earlier version.
    """

    item: str
    task: str
    detected: str
    usual: tuple[float, float]
    single: float
    plain: Vote
    first: Vote
    second: Vote | None
    plan_cost: int
    large: Paid
    guided: Paid
    separate: Planned | None = None
    size: int = 0

    @property
    def own(self) -> Planned:
        """Stages 2 and 3 under the guideline of the large model itself."""
        return Planned(cost=self.plan_cost, second=self.second, guided=self.guided)

    @property
    def served(self) -> Planned:
        """Stages 2 and 3 as the config of the run has them."""
        return self.own if self.separate is None else self.separate


def write(folder: Path, trials: Sequence[Trial]) -> None:
    """Write `trials.jsonl` into the folder of a run."""
    (folder / "trials.jsonl").write_bytes(b"".join(msgspec.json.encode(t) + b"\n" for t in trials))


def read(folder: Path) -> list[Trial]:
    """Read the trials of a run.

    Raises:
        ConfigError: the folder has none.
    """
    try:
        lines = (folder / "trials.jsonl").read_bytes().splitlines()
        found = [msgspec.json.decode(line, type=Trial) for line in lines]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ConfigError([f"{folder}: no run of `cope-proxy eval` ({e})"]) from e
    if not found:
        raise ConfigError([f"{folder}: trials.jsonl is empty; the same `cope-proxy eval` writes it again"])
    return found


async def run(item: Item, tiers: Tiers, grade: Grader, samples: int | None) -> Trial:
    """Put one item through both tiers. Answers on record are reused.

    Raises:
        NoBudgetError: the budget of the run is exhausted.
        ApiError, SmallRefusedError, SmallUnavailableError: a tier did not answer.
    """
    body = item.request()
    detected = detection.detect(body)
    task = detection.with_kind(detected, item.task)
    reason = unserved(body, tools=tiers.settings.small.tools)
    if reason is not None:
        raise ValueError(f"{item.id}: the small model cannot serve it: {reason}")
    settings = tiers.settings
    # Grading always runs code. The config says whether the vote does too.
    sandbox = tiers.runner if settings.sandbox.enabled else None
    estimator = safe_estimator(task, runner_for(settings.cascade, item.task, sandbox))
    # Nothing is accepted or stopped early, so that one run has the outcome at every threshold.
    everything = replace(
        policy(
            settings.cascade,
            item.task,
            estimator.default_thresholds,
            Controls(samples=samples, thresholds=(NEVER, NEVER)),
        ),
        early_stop=False,
        plans="all",
    )
    large = tiers.large
    planner = settings.planner_for(large)
    limit = settings.small.max_output_tokens
    output = settings.large.max_output_tokens

    async def voted(how: Policy, sampler: Sampler) -> CascadeLog:
        log = CascadeLog()
        outcome = await decide(
            task, how, estimator=estimator, small=sampler, planner=sampler, cascade_log=log,
            max_output_tokens=limit, kept=KeptPlans(),
        )  # fmt: skip
        if isinstance(outcome, Unsure) and outcome.stopped:
            # Without its guideline, the item would look like one that needs none.
            raise NoBudgetError(outcome.stopped)
        return log

    separate: tuple[Sampler, CascadeLog] | None = None
    with tiers.small.placed(conversation_digest((), "eval", item.id)) as place:
        plainly, planning = (Sampler(tiers, item.id, body, planner=large, place=place) for _ in range(2))
        async with asyncio.TaskGroup() as group:
            plain = group.create_task(voted(replace(everything, plans="none"), plainly))
            planned = group.create_task(voted(everything, planning))
            alone = group.create_task(tiers.call_large(item.id, {**body, "temperature": 0}, output))
        if planner != large:
            # Stage 1 is on record by now, so both planners follow the same stage 1.
            apart = Sampler(tiers, item.id, body, planner=planner, place=place)
            separate = apart, await voted(everything, apart)
    log = planned.result()

    async def vote(of: CascadeLog, stage: Stage, sampler: Sampler) -> Vote:
        return await _vote(item, of.verdicts[stage], estimator, grade, sampler.small_cost.get(stage, 0))

    async def under_guideline(of: CascadeLog, sampler: Sampler) -> Planned:
        guideline = next((p.text for p in of.plans if p.kind == "guideline"), None)
        guided = alone.result()
        if guideline is not None:
            with_plan = {
                **body,
                "messages": prompts.appended(body["messages"], prompts.guided_text(guideline)),
                "temperature": 0,
            }
            guided = await tiers.call_large(item.id, with_plan, output)
        return Planned(
            planner="" if sampler.planner == large else sampler.planner.name,
            cost=sampler.plan_cost,
            second=await vote(of, 2, sampler) if 2 in of.verdicts else None,
            guided=await _paid(item, guided, grade),
        )

    own = await under_guideline(log, planning)
    votes = [await vote(plain.result(), 1, plainly), await vote(log, 1, planning)]
    singles = [s.score for s in votes[0].samples if s.answers]
    return Trial(
        item=item.id,
        task=item.task,
        detected=detected.kind,
        usual=estimator.default_thresholds,
        single=sum(singles) / len(singles),
        plain=votes[0],
        first=votes[1],
        second=own.second,
        plan_cost=own.cost,
        large=await _paid(item, alone.result(), grade),
        guided=own.guided,
        separate=None if separate is None else await under_guideline(separate[1], separate[0]),
        size=len(msgspec.json.encode(body)),
    )


async def _vote(item: Item, verdict: Verdict, estimator: Estimator, grade: Grader, cost: int) -> Vote:
    winner, ballot = verdict.standing.winner, verdict.ballot
    by_index = sorted(zip(ballot.samples, ballot.votes, strict=True), key=lambda pair: pair[0].index)
    return Vote(
        confidence=verdict.standing.low,
        score=0.0 if winner is None else await grade(item, winner.message),
        samples=[
            Drawn(
                vote=vote,
                score=await grade(item, one.message) if is_answer(estimator, one) else 0.0,
                tokens=one.usage.completion_tokens,
                logprob=one.logprob,
                answers=is_answer(estimator, one),
            )
            for one, vote in by_index
        ],
        cost=cost,
        answered=winner is not None,
    )


async def _paid(item: Item, answer: Answer, grade: Grader) -> Paid:
    return Paid(await grade(item, answer.message), answer.cost or 0, answer.usage.completion_tokens)
