"""Stages 1 and 2 of COPE (arXiv 2506.11578): decide whether the small tier can answer.

Stage 3, one answer of the large model with the guideline of stage 2, is a plain upstream call that the
service makes with the `Escalated` returned here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from proxy.cascade import prompts
from proxy.cascade.fields import small_body
from proxy.cascade.guideline import Guideline
from proxy.cascade.prompts import Messages
from proxy.cascade.protocols import Estimator, LargePlanner, SmallRequest, SmallTier
from proxy.cascade.sampling import Verdict, draw
from proxy.cascade.types import Accepted, Ballot, Escalated, Kept, Plan, Policy, Sample, Task
from proxy.errors import NoBudgetError
from proxy.records import Stage, StageRecord

Sampler = Callable[[int], Awaitable[Sample]]


@dataclass
class CascadeLog:
    """What has happened so far in one cascade; also readable when it was cut short."""

    stages: list[StageRecord] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    verdicts: dict[Stage, Verdict] = field(default_factory=dict)
    guideline: str | None = None
    """The one that was paid for, now or in an earlier turn, whether or not it was needed; see `Kept`."""

    def vote(self, stage: Stage, index: int) -> str | None:
        """Return what a sample stands for in its ballot; `None` when it stands alone, or was never drawn."""
        verdict = self.verdicts.get(stage)
        ballot = Ballot() if verdict is None else verdict.ballot
        pairs = zip(ballot.samples, ballot.votes, strict=True)
        return next((vote for sample, vote in pairs if sample.index == index), None)


async def decide(
    task: Task,
    policy: Policy,
    estimator: Estimator,
    small: SmallTier,
    planner: LargePlanner,
    cascade_log: CascadeLog,
    max_output_tokens: int,
    kept: Kept,
) -> Accepted | Escalated:
    """Run stages 1 and 2. What was planned in an earlier turn is not planned again.

    Raises:
        SmallRefusedError, SmallUnavailableError: the small tier cannot serve the request.
        MissingLogprobsError: the confidence cannot be computed.
    """
    messages = task.body["messages"]
    tools = prompts.tools_text(task.body)
    fields = small_body(task.body, max_output_tokens)
    goals: dict[int, str] = {}

    async def with_own_goal(index: int) -> Sample:
        if policy.plans != "none" and (
            goal := kept.goal or await _goal(small, policy, messages, tools, index)
        ):
            goals[index] = goal
        body = fields | {
            "messages": prompts.execution_request(messages, task.kind, goal=goals.get(index), guideline=None),
            "temperature": policy.temperature1,
        }
        return await small.generate(SmallRequest(1, "executor", index, body))

    plan = Guideline(planner, {**task.body, "messages": prompts.guideline_request(messages, tools)})
    may_plan = policy.plans == "all" and policy.max_stage > 1

    def foresee(chance: float) -> None:
        # Where the late samples will hardly agree, the large planner need not wait for them.
        if may_plan and kept.guideline is None and 1 - chance >= policy.speculate_from:
            plan.begin()

    try:
        first = await _stage(
            1, task, policy, estimator, with_own_goal, policy.threshold1, cascade_log, foresee
        )
        chosen = _carried(first, goals, cascade_log, once=kept.goal is not None)
        if accepted := _accepted(1, first):
            return accepted
        if not may_plan:
            return _unsure(1, first)
        try:
            guideline = await plan.written() if kept.guideline is None else kept.guideline
        except NoBudgetError as e:
            return _unsure(1, first, stopped=str(e))
    finally:
        written = await plan.drop()
        cascade_log.guideline = kept.guideline if written is None else written
    if not guideline:
        return _unsure(1, first)
    cascade_log.plans.append(Plan("guideline", guideline, 2, chosen=True))

    async def with_guideline(index: int) -> Sample:
        body = fields | {
            "messages": prompts.execution_request(
                messages, task.kind, goal=goals.get(chosen), guideline=guideline
            ),
            "temperature": policy.temperature2,
        }
        return await small.generate(SmallRequest(2, "executor", index, body))

    second = await _stage(2, task, policy, estimator, with_guideline, policy.threshold2, cascade_log)
    if accepted := _accepted(2, second):
        return accepted
    if second.standing.winner is None and first.standing.winner is not None:
        return _unsure(1, first, guideline=guideline)
    return _unsure(2, second, guideline=guideline)


async def _goal(small: SmallTier, policy: Policy, messages: Messages, tools: str, index: int) -> str | None:
    asked = {
        "messages": prompts.goal_request(messages, tools),
        "max_tokens": policy.plan_max_tokens,
        "stop": [prompts.PLAN_ENDS],
        "temperature": policy.plan_temperature,
    }
    written = await small.generate(SmallRequest(1, "planner", index, asked))
    return prompts.plan_in(written.text)


def _accepted(stage: Stage, verdict: Verdict) -> Accepted | None:
    winner = verdict.standing.winner
    return Accepted(stage, winner, verdict.standing.low) if verdict.accepted and winner is not None else None


def _carried(first: Verdict, goals: Mapping[int, str], cascade_log: CascadeLog, *, once: bool) -> int:
    """Choose the goal that stage 2 is shown, one whose solution gave the majority answer; note all in the cascade_log."""
    chosen = first.standing.winner.index if first.standing.winner else min(goals, default=0)
    cascade_log.plans += [
        Plan("goal", text, 1, i, chosen=i == chosen)
        for i, text in sorted(goals.items())
        if i == chosen or not once
    ]
    return chosen


async def _stage(
    stage: Stage,
    task: Task,
    policy: Policy,
    estimator: Estimator,
    sample: Sampler,
    threshold: float,
    cascade_log: CascadeLog,
    told: Callable[[float], None] = lambda _: None,
) -> Verdict:
    verdict = await draw(
        task,
        estimator,
        sample,
        total=policy.samples,
        threshold=threshold,
        inclusive=policy.inclusive,
        early_stop=policy.early_stop,
        stop_error=policy.stop_error,
        told=told,
    )
    cascade_log.verdicts[stage], ballot = verdict, verdict.ballot
    sizes = [len(g) for g in ballot.groups().values()]
    cascade_log.stages.append(
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
