"""Money decides what is paid for, never which local answer is good enough."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.choice import ChoiceEstimator
from proxy.cascade.engine import CascadeLog, decide
from proxy.cascade.types import Accepted, KeptPlans, Policy, Sample, StagePolicy, Task, TaskKind
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
    async def guideline(self, body):
        return "Look twice."


class Poor:
    async def guideline(self, body):
        raise NoBudgetError("request: 0 USD left")


def answered(letters, policy, planner, kept=None):
    """What stages 1 and 2 come to."""
    small = Small({1: letters[0], 2: letters[1]})
    return asyncio.run(
        decide(
            TASK,
            policy,
            estimator=ChoiceEstimator(),
            small=small,
            planner=planner,
            cascade_log=CascadeLog(),
            max_output_tokens=100,
            kept=kept or KeptPlans(),
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
def test_no_budget_changes_an_answer_that_stage_1_accepts(letters, policy):
    """Whatever is planned ahead, and whether it can be paid: the answer and its confidence are the same."""
    rich, poor = (answered(letters, policy, planner) for planner in (Rich(), Poor()))
    for one, other in ((rich, poor), (poor, rich)):
        if isinstance(one, Accepted) and one.stage == 1:
            assert other == one


@given(st.tuples(LETTERS, LETTERS), POLICIES)
def test_without_money_stage_2_runs_only_under_a_guideline_that_is_there(letters, policy):
    """One that an earlier turn has paid for gives the very answer that a budget would have given."""
    kept = KeptPlans("Find it.", "Look twice.")
    rich, poor = (answered(letters, policy, planner, kept) for planner in (Rich(), Poor()))
    assert rich == poor
    bare = answered(letters, policy, Poor())
    assert not (isinstance(bare, Accepted) and bare.stage == 2)
