"""Stages 1 and 2: which answer they give, and which plans they use."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.choice import ChoiceEstimator
from proxy.cascade.confidence.structured import StructuredEstimator
from proxy.cascade.engine import CascadeLog, decide
from proxy.cascade.types import (
    NO_GUIDELINE_NEEDED,
    Accepted,
    KeptPlans,
    Policy,
    Sample,
    StagePolicy,
    Task,
    TaskKind,
    Unsure,
)
from proxy.errors import NoBudgetError
from proxy.pricing.prices import Usage

ASKED = {"messages": [{"role": "user", "content": "Which one? A) this B) that C) neither"}]}
TASK = Task(TaskKind.CHOICE, ASKED, "Which one? A) this B) that C) neither")
LETTERS = st.lists(st.sampled_from("ABC"), min_size=4, max_size=4)


class Small:
    """A small model whose answers are known: for each stage a letter for each sample."""

    def __init__(self, letters):
        self.letters = letters

    async def generate(self, request):
        for _ in range(5 * request.index):  # one sample finishes after the other
            await asyncio.sleep(0)
        text = (
            "Find it."
            if request.role == "planner"
            else f"The answer is {self.letters[request.stage][request.index]}"
        )
        return Sample(
            index=request.index,
            message={"role": "assistant", "content": text},
            finish_reason="stop",
            logprob=-0.1 * request.index,
            usage=Usage(),
        )


class Rich:
    async def guideline(self):
        return "Look twice."


class Counting:
    """A planner with a fixed reply, which counts its requests."""

    def __init__(self, reply):
        self.reply = reply
        self.requests = 0

    async def guideline(self):
        self.requests += 1
        return self.reply


class Poor:
    async def guideline(self):
        raise NoBudgetError("request: 0 USD left")


def answered(letters, policy, planner, kept=None, *, log=None, earns=lambda _: True):
    """Return the outcome of stages 1 and 2."""
    small = Small({1: letters[0], 2: letters[1]})
    return asyncio.run(
        decide(
            TASK,
            policy,
            estimator=ChoiceEstimator(),
            small=small,
            planner=planner,
            cascade_log=log or CascadeLog(),
            max_output_tokens=100,
            kept=kept or KeptPlans(),
            earns=earns,
        )
    )


THRESHOLDS = st.sampled_from([0.25, 0.5, 0.75, 1.0])
POLICIES = st.builds(
    Policy,
    samples=st.just(4),
    stages=st.tuples(
        st.builds(StagePolicy, THRESHOLDS, st.just(0.4)), st.builds(StagePolicy, THRESHOLDS, st.just(0.8))
    ),
    inclusive=st.booleans(),
    max_stage=st.sampled_from([1, 2, 3]),
    plans=st.sampled_from(["all", "goals", "none"]),
    plan_max_tokens=st.just(96),
    early_stop=st.booleans(),
    stop_error=st.sampled_from([0.0, 0.2]),
    speculate_from=st.sampled_from([0.0, 0.5, 2.0]),
    plan_temperature=st.just(0.8),
)


@given(st.tuples(LETTERS, LETTERS), POLICIES)
def test_budget_never_changes_stage_1(letters, policy):
    """Whatever is planned ahead, and whether it can be paid: the answer and its confidence are the same."""
    rich, poor = (answered(letters, policy, planner) for planner in (Rich(), Poor()))
    for one, other in ((rich, poor), (poor, rich)):
        if isinstance(one, Accepted) and one.stage == 1:
            assert other == one


@given(st.tuples(LETTERS, LETTERS), POLICIES)
def test_stage_2_without_money(letters, policy):
    """One that an earlier turn has paid for gives the very answer that a budget would have given."""
    kept = KeptPlans("Find it.", "Look twice.")
    rich, poor = (answered(letters, policy, planner, kept) for planner in (Rich(), Poor()))
    assert rich == poor
    bare = answered(letters, policy, Poor())
    assert not (isinstance(bare, Accepted) and bare.stage == 2)


POLICY = Policy(
    samples=4,
    stages=(StagePolicy(0.75, 0.4), StagePolicy(0.75, 0.8)),
    inclusive=True,
    max_stage=3,
    plans="all",
    plan_max_tokens=96,
    plan_temperature=0.8,
    early_stop=False,
    stop_error=0.0,
    speculate_from=2.0,
)


def test_guideline_not_needed():
    """The planner's reply is logged, stage 2 does not run, and the next turn does not ask again."""
    log, planner = CascadeLog(), Counting(NO_GUIDELINE_NEEDED)
    outcome = answered(("AABC", "AAAA"), POLICY, planner, log=log)
    assert isinstance(outcome, Unsure)
    assert (outcome.best_stage, outcome.guideline, outcome.stopped) == (1, None, None)
    assert log.guideline is NO_GUIDELINE_NEEDED
    answered(("AABC", "AAAA"), POLICY, planner, KeptPlans(None, log.guideline))
    assert planner.requests == 1


def test_planner_fails():
    """Without a reply of the planner, stage 1 escalates, and the next turn may ask again."""
    log = CascadeLog()
    outcome = answered(("AABC", "AAAA"), POLICY, Counting(None), log=log)
    assert (outcome.best_stage, outcome.guideline, log.guideline) == (1, None, None)


@pytest.mark.parametrize("change", [{"max_stage": 1}, {"plans": "goals"}], ids=str)
def test_stage_2_not_allowed(change):
    """The planner is not asked."""
    planner = Counting("Look twice.")
    outcome = answered(("AABC", "AAAA"), replace(POLICY, **change), planner)
    assert (outcome.best_stage, outcome.confidence, planner.requests) == (1, 0.5, 0)


def test_early_guideline_is_kept():
    """A guideline that was requested early and not needed is kept for the next turn."""
    log, planner = CascadeLog(), Counting("Look twice.")
    outcome = answered(("BAAA", "AAAA"), replace(POLICY, speculate_from=0.0), planner, log=log)
    assert (outcome.stage, planner.requests) == (1, 1)
    assert log.guideline == "Look twice."


def test_votes_in_log():
    """The log has the vote of each drawn sample."""
    log = CascadeLog()
    answered(("AABC", "AAAB"), POLICY, Counting("Look twice."), log=log)
    assert [log.vote(1, i) for i in range(5)] == ["A", "A", "B", "C", None]
    assert [log.vote(2, i) for i in range(4)] == ["A", "A", "A", "B"]
    assert CascadeLog().vote(1, 0) is None


@given(st.tuples(LETTERS, LETTERS), POLICIES)
def test_guideline_that_does_not_earn_its_price(letters, policy):
    """Nothing is bought, and the outcome is that of stage 1 alone. The log says so if there would have been a stage 2."""
    planner, log, asked = Counting("Look twice."), CascadeLog(), []
    outcome = answered(letters, policy, planner, log=log, earns=asked.append)
    alone = answered(
        letters, replace(policy, plans="goals" if policy.plans == "all" else policy.plans), planner
    )
    assert (outcome, planner.requests) == (alone, 0)
    unsure = isinstance(outcome, Unsure)
    assert log.guideline_skipped == (unsure and policy.plans == "all" and policy.max_stage > 1)
    if log.guideline_skipped:
        groups = Counter(log.vote(1, s.index) for s in log.verdicts[1].ballot.samples)
        groups.pop(None, None)
        assert asked[-1] == max(groups.values(), default=0) / log.stages[0].drawn


def test_paid_guidelines_are_used():
    """A guideline that is kept or already requested costs nothing more, whatever it would earn."""
    planner = Counting("Look twice.")
    kept = answered(("ABCD", "AAAA"), POLICY, planner, KeptPlans(None, "Kept."), earns=lambda _: False)
    assert (kept.stage, planner.requests) == (2, 0)
    ahead = replace(POLICY, speculate_from=0.0)
    planned = answered(("ABCD", "AAAA"), ahead, planner, earns=lambda share: share is None)
    assert (planned.stage, planner.requests) == (2, 1)


def test_stage_2_without_valid_answer():
    """The best answer is that of stage 1, and the guideline still goes to the large model."""

    class Documents(Small):
        async def generate(self, request):
            drawn = await super().generate(request)
            text = "{" if request.stage == 2 else str("AABC".index(self.letters[1][request.index]))
            return drawn if request.role == "planner" else replace(drawn, message={"content": text})

    outcome = asyncio.run(
        decide(
            Task(TaskKind.STRUCTURED, ASKED, ""),
            POLICY,
            estimator=StructuredEstimator(),
            small=Documents({1: "AABC", 2: "AABC"}),
            planner=Counting("Look twice."),
            cascade_log=CascadeLog(),
            max_output_tokens=100,
            kept=KeptPlans(),
        )
    )
    assert (outcome.best_stage, outcome.best.text, outcome.guideline) == (1, "0", "Look twice.")
