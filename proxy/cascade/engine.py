"""Stages 1 and 2 of COPE (arXiv 2506.11578): decide whether the small model can answer.

Stage 3 is one answer of the large model under the guideline of stage 2. It is a plain upstream call, which the service
makes with the `Unsure` returned here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from proxy.cascade import prompts
from proxy.cascade.fields import small_body
from proxy.cascade.guideline import GuidelineRequest
from proxy.cascade.inputs import InputsRequest
from proxy.cascade.kinds import answer_form
from proxy.cascade.prompts import Messages
from proxy.cascade.protocols import Estimator, LargePlanner, SmallRequest, SmallTier
from proxy.cascade.sampling import Verdict, draw
from proxy.cascade.types import (
    Accepted,
    Ballot,
    Guideline,
    KeptPlans,
    Plan,
    Policy,
    Sample,
    Task,
    Unsure,
)
from proxy.cascade.wording import in_words
from proxy.errors import NoBudgetError
from proxy.records import Stage, StageRecord

Sampler = Callable[[int], Awaitable[Sample]]
Earns = Callable[[float | None], bool]
"""Returns whether a guideline earns its price. It gets the share of the samples of stage 1 that form the largest group, or
`None` if stage 1 has not ended."""


@dataclass
class CascadeLog:
    """The facts of one cascade so far. It can also be read after the cascade was cancelled.

    `guideline` is the reply of the planner in this turn or an earlier one, whether or not stage 2 needed it.
    `guideline_skipped` is True if stage 2 was skipped because its guideline would not have earned its price.
    """

    stages: list[StageRecord] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    verdicts: dict[Stage, Verdict] = field(default_factory=dict)
    guideline: Guideline | None = None
    guideline_skipped: bool = False

    def vote(self, stage: Stage, index: int) -> str | None:
        """Return the vote of a sample, or `None` if the sample has no vote or was not drawn."""
        verdict = self.verdicts.get(stage)
        ballot = Ballot() if verdict is None else verdict.ballot
        pairs = zip(ballot.samples, ballot.votes, strict=True)
        return next((vote for sample, vote in pairs if sample.index == index), None)


async def decide(
    task: Task,
    policy: Policy,
    *,
    estimator: Estimator,
    small: SmallTier,
    planner: LargePlanner,
    cascade_log: CascadeLog,
    max_output_tokens: int,
    kept: KeptPlans,
    earns: Earns = lambda _: True,
) -> Accepted | Unsure:
    """Run stages 1 and 2. Plans that an earlier turn made (`kept`) are used again.

    A guideline is bought only if it `earns` its price.

    Raises:
        SmallRefusedError, SmallUnavailableError: the small model cannot serve the request.
        MissingLogprobsError: the confidence cannot be computed.
    """
    messages = task.body["messages"]
    tools = prompts.tools_text(task.body)
    form = partial(answer_form, task.kind, estimator)
    fields = small_body(task.body, max_output_tokens)
    goals: dict[int, str] = {}

    async def with_own_goal(index: int) -> Sample:
        if policy.plans != "none" and (
            goal := kept.goal or await _goal(small, policy, messages, tools, index)
        ):
            goals[index] = goal
        prompt = prompts.execution_request(messages, form(index), goal=goals.get(index), guideline=None)
        body = fields | {"messages": prompt, "temperature": policy.stages[0].temperature}
        return await small.generate(SmallRequest(1, "executor", index, body))

    request = GuidelineRequest(planner, kept.guideline)
    inputs = InputsRequest(small, task, policy, estimator)
    task = replace(task, inputs=inputs.result)
    may_plan = policy.plans == "all" and policy.max_stage > 1

    def plan_ahead(chance: float) -> None:
        # If stage 1 will probably escalate, planning can run beside its last samples.
        if may_plan and 1 - chance >= policy.speculate_from and earns(None):
            request.start()

    worded = partial(in_words, task=task, policy=policy, estimator=estimator, small=small, fields=fields)
    stage = partial(
        _stage, task=task, policy=policy, estimator=estimator, in_words=worded, cascade_log=cascade_log
    )
    try:
        first = await stage(1, sample=with_own_goal, on_odds=plan_ahead)
        chosen = _sample_with_the_goal(first, goals)
        cascade_log.plans += _goal_plans(goals, chosen, all_samples=kept.goal is None)
        if accepted := _accepted(1, first):
            return accepted
        if not (may_plan and (request.paid or earns(_agreement(first.ballot)))):
            cascade_log.guideline_skipped = may_plan
            return _unsure(1, first)
        try:
            guideline = await request.result()
        except NoBudgetError as e:
            return _unsure(1, first, stopped=str(e))
    finally:
        await inputs.cancel()
        cascade_log.guideline = await request.cancel()
    if not isinstance(guideline, str):
        return _unsure(1, first)
    cascade_log.plans.append(Plan(kind="guideline", text=guideline, stage=2, chosen=True))

    async def with_guideline(index: int) -> Sample:
        prompt = prompts.execution_request(messages, form(index), goal=goals.get(chosen), guideline=guideline)
        body = fields | {"messages": prompt, "temperature": policy.stages[1].temperature}
        return await small.generate(SmallRequest(2, "executor", index, body))

    second = await stage(2, sample=with_guideline)
    if accepted := _accepted(2, second):
        return accepted
    if second.standing.winner is None and first.standing.winner is not None:
        return _unsure(1, first, guideline=guideline)
    return _unsure(2, second, guideline=guideline)


async def _goal(small: SmallTier, policy: Policy, messages: Messages, tools: str, index: int) -> str | None:
    body = {
        "messages": prompts.goal_request(messages, tools),
        "max_tokens": policy.plan_max_tokens,
        "stop": [prompts.PLAN_ENDS],
        "temperature": policy.plan_temperature,
    }
    written = await small.generate(SmallRequest(1, "planner", index, body))
    return prompts.plan_in(written.text)


def _accepted(stage: Stage, verdict: Verdict) -> Accepted | None:
    winner = verdict.standing.winner
    return Accepted(stage, winner, verdict.standing.low) if verdict.accepted and winner is not None else None


def _unsure(
    stage: Stage, verdict: Verdict, *, guideline: str | None = None, stopped: str | None = None
) -> Unsure:
    return Unsure(
        best=verdict.standing.winner,
        best_stage=stage,
        confidence=verdict.standing.low,
        guideline=guideline,
        stopped=stopped,
    )


def _agreement(ballot: Ballot) -> float:
    """Return the share of the drawn samples that form the largest group."""
    return _largest(ballot) / len(ballot.samples) if ballot.samples else 0.0


def _largest(ballot: Ballot) -> int:
    return max(map(len, ballot.groups().values()), default=0)


def _sample_with_the_goal(first: Verdict, goals: Mapping[int, str]) -> int:
    """Return the sample that gives stage 2 its goal: the winner of stage 1, else the first one with a goal."""
    return first.standing.winner.index if first.standing.winner else min(goals, default=0)


def _goal_plans(goals: Mapping[int, str], chosen: int, *, all_samples: bool) -> list[Plan]:
    """Return the goals to log. Samples that share a kept goal count once, with the chosen sample."""
    return [
        Plan(kind="goal", text=text, stage=1, sample=index, chosen=index == chosen)
        for index, text in sorted(goals.items())
        if all_samples or index == chosen
    ]


async def _stage(
    stage: Stage,
    *,
    task: Task,
    policy: Policy,
    estimator: Estimator,
    sample: Sampler,
    in_words: Callable[[Stage, Verdict], Awaitable[Verdict]],
    cascade_log: CascadeLog,
    on_odds: Callable[[float], None] = lambda _: None,
) -> Verdict:
    """Draw the samples of one stage and log the result."""
    threshold = policy.stages[stage - 1].threshold
    verdict = await draw(
        task,
        estimator,
        sample=sample,
        total=policy.samples,
        threshold=threshold,
        inclusive=policy.inclusive,
        early_stop=policy.early_stop,
        stop_error=policy.stop_error,
        on_odds=on_odds,
    )
    verdict = await in_words(stage, verdict)
    cascade_log.verdicts[stage], ballot = verdict, verdict.ballot
    cascade_log.stages.append(
        StageRecord(
            stage=stage,
            drawn=len(ballot.samples),
            planned=policy.samples,
            agreed=_largest(ballot),
            confidence=verdict.standing.low,
            threshold=threshold,
            accepted=verdict.accepted,
        )
    )
    return verdict
