"""Inputs that the small model is asked for: one call beside the samples, and never more than inputs."""

import asyncio

import pytest

from proxy.cascade.confidence.behaviour import behaviour_estimator
from proxy.cascade.engine import CascadeLog, decide
from proxy.cascade.prompts import INPUTS
from proxy.cascade.types import Accepted, KeptPlans, Policy, Sample, StagePolicy, Task, TaskKind, Unsure
from proxy.errors import SmallUnavailableError
from proxy.pricing.prices import Usage
from proxy.sandbox import Sandbox

ASKED = "def total(thing):\n    '''Add it up.'''\n"
RIGHT = "```python\ndef total(thing):\n    return sum(thing)\n```"
POLICY = Policy(
    samples=4,
    stages=(StagePolicy(0.5, 0.4), StagePolicy(0.5, 0.8)),
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
    """A small model that writes the given inputs and programs, and remembers what it was asked."""

    def __init__(self, inputs, finish="stop"):
        self.inputs = inputs
        self.finish = finish
        self.requests = []
        self.cancelled = False

    async def generate(self, request):
        self.requests.append(request)
        text = RIGHT if request.role == "executor" else await self._written()
        return Sample(
            index=request.index,
            message={"role": "assistant", "content": text},
            finish_reason=self.finish,
            logprob=-0.1,
            usage=Usage(),
        )

    async def _written(self):
        if isinstance(self.inputs, Exception):
            raise self.inputs
        if self.inputs is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True
        return self.inputs


def decided(small, text=ASKED):
    task = Task(TaskKind.CODE, {"messages": [{"role": "user", "content": text}]}, text)
    return asyncio.run(
        decide(
            task,
            POLICY,
            estimator=behaviour_estimator(task, Sandbox()),
            small=small,
            planner=None,
            cascade_log=CascadeLog(),
            max_output_tokens=100,
            kept=KeptPlans(),
        )
    )


def asked_for_inputs(small):
    return [r for r in small.requests if r.role == "planner"]


def test_one_bounded_call():
    """All samples share one call for inputs, which has a limit of tokens and an index of its own."""
    small = Small("total([1, 2])\ntotal([])\ntotal([5, 5, 7])")
    outcome = decided(small)
    assert isinstance(outcome, Accepted)
    (request,) = asked_for_inputs(small)
    assert INPUTS in request.body["messages"][-1]["content"]
    assert request.body["max_tokens"] <= 200
    assert request.index == POLICY.samples


def test_examples_need_no_call():
    """A request that shows arguments asks for none."""
    small = Small("total([9])")
    decided(small, f"{ASKED}\ntotal([1, 2]) == 3")
    assert asked_for_inputs(small) == []


@pytest.mark.parametrize(
    "inputs",
    [
        SmallUnavailableError("no server"),
        "",
        "I cannot do that.",
        "total(x)\ntotal(open('file'))",
        "total(" * 5000,
        "[1, 2, 3]",
    ],
)
def test_no_inputs_accept_nothing(inputs):
    """If the call fails, or gives no literals, nothing is known of the programs."""
    assert isinstance(decided(Small(inputs)), Unsure)


def test_stated_results_are_ignored():
    """The small model's own results never reject a program, and never accept one."""
    assert isinstance(decided(Small("total([1, 2]) == 99\ntotal([4]) == 98\ntotal([7, 8])")), Accepted)


def test_call_ends_with_the_stage():
    """If no vote needs the inputs, because no program is complete, the call is cancelled with the samples."""
    small = Small(None, finish="length")
    assert isinstance(decided(small), Unsure)
    assert small.cancelled
