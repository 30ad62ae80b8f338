"""Stages 1 and 2 of COPE (arXiv 2506.11578): decide whether the small tier can answer.

Stage 3, one answer of the large model with the guideline of stage 2, is a plain upstream call that the
service makes with the `Escalated` returned here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxy.cascade import prompts
from proxy.cascade.capability import small_body
from proxy.cascade.sampling import Verdict, draw
from proxy.cascade.types import (
    Accepted,
    Escalated,
    Estimator,
    Kept,
    LargePlanner,
    Plan,
    Policy,
    Sample,
    SmallRequest,
    SmallTier,
    Task,
)
from proxy.errors import NoBudget
from proxy.records import Stage, StageRecord

Sampler = Callable[[int], Awaitable[Sample]]


@dataclass
class Story:
    """What has happened so far in one cascade; also readable when it was cut short."""

    stages: list[StageRecord] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    votes: dict[tuple[Stage, int], str | None] = field(default_factory=dict)


async def decide(
    task: Task,
    policy: Policy,
    estimator: Estimator,
    small: SmallTier,
    planner: LargePlanner,
    story: Story,
    max_output_tokens: int,
    kept: Kept,
) -> Accepted | Escalated:
    """Run stages 1 and 2. What was planned in an earlier turn is not planned again.

    Raises:
        SmallRefused, SmallUnavailable: the small tier cannot serve the request.
        MissingLogprobs: the confidence cannot be computed.
    """
    messages = task.body["messages"]
    tools = prompts.tools_text(task.body)
    fields = small_body(task.body, max_output_tokens)
    goals: dict[int, str] = {}

    async def new_goal(index: int) -> str:
        asked = {
            "messages": prompts.goal_request(messages, tools),
            "max_tokens": policy.plan_max_tokens,
            "temperature": policy.plan_temperature,
        }
        goal = await small.generate(SmallRequest(1, "planner", index, asked))
        return " ".join(goal.text.split())

    async def with_own_goal(index: int) -> Sample:
        goals[index] = kept.goal or await new_goal(index)
        body = fields | {
            "messages": prompts.execution_request(messages, task.kind, goal=goals[index], guideline=None),
            "temperature": policy.temperature1,
        }
        return await small.generate(SmallRequest(1, "executor", index, body))

    first = await _stage(1, task, policy, estimator, with_own_goal, policy.threshold1, story)
    # Carry-over: a goal whose solution gave the majority answer.
    chosen = first.standing.winner.index if first.standing.winner else min(goals, default=0)
    story.plans += [
        Plan("goal", text, 1, i, chosen=i == chosen)
        for i, text in sorted(goals.items())
        if i == chosen or not kept.goal
    ]
    if first.accepted and first.standing.winner is not None:
        return Accepted(1, first.standing.winner, first.standing.low)
    if policy.max_stage == 1:
        return _unsure(1, first)

    guideline = kept.guideline
    if guideline is None:
        try:
            guideline = await planner.guideline(
                {**task.body, "messages": prompts.guideline_request(messages, tools)}
            )
        except NoBudget as e:
            return _unsure(1, first, stopped=str(e))
    if guideline is None:
        return _unsure(1, first)
    story.plans.append(Plan("guideline", guideline, 2, chosen=True))

    async def with_guideline(index: int) -> Sample:
        body = fields | {
            "messages": prompts.execution_request(
                messages, task.kind, goal=goals.get(chosen), guideline=guideline
            ),
            "temperature": policy.temperature2,
        }
        return await small.generate(SmallRequest(2, "executor", index, body))

    second = await _stage(2, task, policy, estimator, with_guideline, policy.threshold2, story)
    if second.accepted and second.standing.winner is not None:
        return Accepted(2, second.standing.winner, second.standing.low)
    if second.standing.winner is None and first.standing.winner is not None:
        return _unsure(1, first, guideline=guideline)
    return _unsure(2, second, guideline=guideline)


async def _stage(
    stage: Stage,
    task: Task,
    policy: Policy,
    estimator: Estimator,
    sample: Sampler,
    threshold: float,
    story: Story,
) -> Verdict:
    verdict = await draw(
        task,
        estimator,
        sample,
        total=policy.samples,
        threshold=threshold,
        inclusive=policy.inclusive,
        early_stop=policy.early_stop,
    )
    ballot = verdict.ballot
    for one, vote in zip(ballot.samples, ballot.votes, strict=True):
        story.votes[stage, one.index] = vote
    sizes = [len(g) for g in ballot.groups().values()]
    story.stages.append(
        StageRecord(
            stage=stage,
            drawn=len(ballot.samples),
            planned=policy.samples,
            agreed=max(sizes, default=0),
            confidence=verdict.standing.low,
            threshold=threshold,
            accepted=verdict.accepted,
        )
    )
    return verdict


def _unsure(
    stage: Stage, verdict: Verdict, *, guideline: str | None = None, stopped: str | None = None
) -> Escalated:
    return Escalated(
        guideline=guideline,
        best=verdict.standing.winner,
        best_stage=stage,
        confidence=verdict.standing.low,
        stopped=stopped,
    )
