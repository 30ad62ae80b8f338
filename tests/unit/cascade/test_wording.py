"""Results that only programs have computed: the client gets them in words, or not at all."""

import asyncio
from dataclasses import replace

import pytest

from proxy.cascade import prompts
from proxy.cascade.confidence.computed import ComputedEstimator, is_program
from proxy.cascade.engine import CascadeLog, decide
from proxy.cascade.types import Accepted, KeptPlans, Policy, Sample, StagePolicy, Task, TaskKind, Unsure
from proxy.pricing.prices import Usage
from proxy.sandbox import Sandbox

ASKED = {"messages": [{"role": "user", "content": "What is 6 times 7?"}]}
PROGRAMS = "def solve():\n    return 6 * 7"
POLICY = Policy(
    samples=4,
    stages=(StagePolicy(0.25, 0.4), StagePolicy(0.25, 0.8)),
    inclusive=True,
    max_stage=1,
    plans="none",
    plan_max_tokens=96,
    plan_temperature=0.8,
    early_stop=True,
    stop_error=0.0,
    speculate_from=2.0,
)


class Small:
    """A small model that writes these texts, programs that compute 42, and these words for a result."""

    def __init__(self, texts, words):
        self.texts, self.words = texts, words
        self.asked = []

    async def generate(self, request):
        asked = request.body["messages"][-1]["content"]
        self.asked.append(asked)
        text = self.words if "The result is" in asked else PROGRAMS
        if prompts.MATH_FORM in asked:
            text = self.texts[request.index // 2]
        return Sample(
            index=request.index,
            message={"role": "assistant", "content": text},
            finish_reason="stop",
            logprob=-0.1,
            usage=Usage(),
        )


def decided(small, policy=POLICY, log=None):
    return asyncio.run(
        decide(
            Task(TaskKind.MATH, ASKED, "What is 6 times 7?"),
            policy,
            estimator=ComputedEstimator(Sandbox()),
            small=small,
            planner=None,
            cascade_log=log or CascadeLog(),
            max_output_tokens=100,
            kept=KeptPlans(),
        )
    )


def test_forms_take_turns():
    """Even samples are texts and odd ones are programs. Each prompt differs from the others only at its end."""
    small = Small(["\\boxed{42}"] * 2, "")
    outcome = decided(small, replace(POLICY, early_stop=False))
    assert [prompts.PROGRAM_FORM in asked for asked in small.asked] == [False, True, False, True]
    assert all(asked.startswith("What is 6 times 7?\n\n") for asked in small.asked)
    assert (outcome.confidence, outcome.sample.text) == (1.0, "\\boxed{42}")


def test_words_state_the_result():
    """Programs alone agree: one more call words the result, and its text is the answer."""
    log, small = CascadeLog(), Small(["\\boxed{1}", "\\boxed{2}"], "It is \\boxed{42.0}.")
    outcome = decided(small, log=log)
    assert isinstance(outcome, Accepted)
    assert (outcome.sample.text, outcome.confidence) == ("It is \\boxed{42.0}.", 0.25)
    assert log.vote(1, outcome.sample.index) == "42"
    assert [("The result is 42." in asked) for asked in small.asked] == [False] * (len(small.asked) - 1) + [
        True
    ]


@pytest.mark.parametrize("words", ["\\boxed{43}", "", PROGRAMS, "I do not know."])
def test_other_words_are_refused(words):
    """Words that state another result, or none, are never accepted. The best text is kept for a client without money."""
    log = CascadeLog()
    outcome = decided(Small(["\\boxed{1}", "\\boxed{2}"], words), log=log)
    assert isinstance(outcome, Unsure)
    assert (outcome.best.text, outcome.confidence) == ("\\boxed{1}", 0.0)
    assert not log.stages[0].accepted


def test_refused_programs_are_not_worded():
    """Below the threshold nothing is worded, and a program is still never the answer."""
    small = Small(["\\boxed{1}", "\\boxed{2}"], "\\boxed{42}")
    outcome = decided(small, replace(POLICY, stages=(StagePolicy(0.5, 0.4),) * 2))
    assert not any("The result is" in asked for asked in small.asked)
    assert isinstance(outcome, Unsure)
    assert not is_program(outcome.best.index)


def test_full_ballots_are_worded():
    """A ballot that is held in full has the outcome at every threshold: the words, and the confidence in them."""
    small = Small(["\\boxed{1}", "\\boxed{2}"], "\\boxed{42}")
    policy = replace(POLICY, early_stop=False, stages=(StagePolicy(2.0, 0.4),) * 2)
    outcome = decided(small, policy)
    assert isinstance(outcome, Unsure)
    assert (outcome.best.text, outcome.confidence) == ("\\boxed{42}", 0.25)


def test_early_stop_across_forms():
    """A text and a program that agree end a ballot of four."""
    small = Small(["\\boxed{42}"] * 2, "")
    outcome = decided(small, replace(POLICY, stages=(StagePolicy(0.5, 0.4),) * 2))
    assert isinstance(outcome, Accepted)
    assert len(small.asked) == 2


def test_program_replaces_form():
    """A request that already asks for a boxed answer is not asked for both."""
    asked = [{"role": "user", "content": f"What is 6 times 7?\n\n{prompts.MATH_FORM}"}]
    written = prompts.execution_request(asked, prompts.PROGRAM_FORM, goal=None, guideline=None)
    assert written[-1]["content"] == f"What is 6 times 7?\n\n{prompts.PROGRAM_FORM}"
    text = prompts.execution_request(asked, prompts.MATH_FORM, goal=None, guideline=None)
    assert text == asked
