"""The value of guidelines: those that lose money are skipped, tried now and then, and used again when they pay."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.engine import CascadeLog
from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, StageRecord
from proxy.service.finished import finish
from proxy.service.guideline_value import (
    MIN_ANSWERS,
    TRY_SHARE,
    WINDOW,
    GuidelineRecords,
    learn,
    may_skip_guidelines,
)
from tests.support.requests import request_log

KEY = "math", "gpt"


def record(guided, answers=(1000,) * MIN_ANSWERS, draw=1.0):
    guidelines = GuidelineRecords(lambda: draw)
    for cost in answers:
        guidelines.add_answer(*KEY, cost)
    for accepted, paid in guided:
        guidelines.add_guideline(*KEY, accepted=accepted, paid=paid)
    return guidelines


@given(st.integers(0, WINDOW), st.integers(0, 2000), st.integers(0, 10**6))
def test_only_losses_skip(accepted, paid, before):
    """The order of the accepted ones does not matter, nor do requests before the last ones."""
    guided = [(i < accepted, paid) for i in range(WINDOW)]
    random.Random(before).shuffle(guided)
    losing = record([(True, before % 500)] * 7 + guided).skips(*KEY)
    assert not losing or accepted * 1000 < WINDOW * paid
    assert losing or accepted * 1000 > WINDOW * (paid - 75)  # two standard errors are 71 at most


@pytest.mark.parametrize(
    ("guided", "answers"),
    [([(False, 250)] * (WINDOW - 1), MIN_ANSWERS), ([(False, 250)] * WINDOW, MIN_ANSWERS - 1)],
)
def test_too_little_evidence(guided, answers):
    """Guidelines are not judged by few requests, nor by the price of few answers."""
    assert not record(guided, [1000] * answers).skips(*KEY)
    assert record([(False, 250)] * WINDOW).skips(*KEY)


def test_skipped_guidelines_return():
    """One request in twenty still tries one; savings that outweigh the losses end the skipping."""
    assert not record([(False, 250)] * WINDOW, draw=TRY_SHARE / 2).skips(*KEY)
    back = record([(False, 250)] * WINDOW, draw=TRY_SHARE)
    assert back.skips(*KEY)
    for _ in range(WINDOW // 2):
        back.add_guideline(*KEY, accepted=True, paid=250)
    assert not back.skips(*KEY)


def test_records_are_separate():
    """Each task kind and large model has its own record."""
    losing = record([(False, 250)] * WINDOW)
    assert not losing.skips("agent", "gpt")
    assert not losing.skips("math", "o3")


@pytest.mark.parametrize(("accepts", "least", "most"), [(0.085, 0.9, 0.96), (0.3, 0, 0.02), (0.4, 0, 0)])
def test_chance_skips_nothing(accepts, least, most):
    """A guideline costs a quarter of an answer: stage 2 pays if it accepts three in ten, but not one in twelve."""
    lot = random.Random(6)
    guidelines, skipped = GuidelineRecords(lot.random), 0
    for _ in range(MIN_ANSWERS):
        guidelines.add_answer(*KEY, 1000)
    for _ in range(20_000):
        if guidelines.skips(*KEY):
            skipped += 1
        else:
            guidelines.add_guideline(*KEY, accepted=lot.random() < accepts, paid=250)
    assert least <= skipped / 20_000 <= most


def test_a_change_is_logged_once(caplog):
    """The message has the amount, and the option that turns this off."""
    record([(False, 2_000_000)] * (WINDOW + 5) + [(True, 0)] * WINDOW, [10**9] * MIN_ANSWERS)
    lost, back = (r.getMessage() for r in caplog.records)
    assert lost == (
        "guidelines for math tasks with gpt lost 0.4 USD in the last 200 guided requests: using one in 20 requests from "
        "now on (cascade.skip_losses)"
    )
    assert back.endswith("using them again (cascade.skip_losses)")


def call(stage, role, cost, tier="large"):
    return CallRecord(
        id="c",
        request_id="req_1",
        key_id=None,
        started_at=request_log().request.received_at,
        stage=stage,
        role=role,
        tier=tier,
        model="m",
        sample=None,
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        cost=cost,
        price=Price(input=1, output=1),
        latency_ms=1,
        finish_reason="stop",
        estimated=False,
    )


def stage(number, *, accepted):
    return StageRecord(
        stage=number, drawn=4, planned=4, agreed=4, confidence=1.0, threshold=0.75, accepted=accepted
    )


LOCAL, GUIDELINE, ANSWER = (
    call(1, "executor", 5, "small"),
    call(2, "planner", 250),
    call(3, "executor", 1100),
)
UNSURE, SURE = stage(1, accepted=False), stage(1, accepted=True)


@pytest.mark.parametrize(
    ("calls", "stages", "facts", "tried", "answered"),
    [
        pytest.param([LOCAL], [SURE], {"stage": 1, "baseline": 900}, None, None, id="stage 1"),
        pytest.param([LOCAL, GUIDELINE], [SURE], {"stage": 1, "baseline": 900}, None, None, id="planned ahead, not needed"),
        pytest.param(
            [LOCAL, GUIDELINE, call(2, "executor", 5, "small")], [UNSURE, stage(2, accepted=True)],
            {"stage": 2, "baseline": 900}, (True, 255), None, id="stage 2",
        ),
        pytest.param(
            [LOCAL, call(2, "executor", 5, "small")], [UNSURE, stage(2, accepted=True)],
            {"stage": 2, "baseline": 900}, (True, 5), None, id="a kept guideline",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)], {"stage": 3, "baseline": 1000, "model": "gpt"},
            (False, 350), 1000, id="stage 3",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)],
            {"stage": 3, "baseline": 1000, "model": "stand-in"}, (False, 350), None, id="a fallback",
        ),
        pytest.param([LOCAL, ANSWER], [UNSURE], {"stage": 3, "baseline": 1100, "model": "gpt"}, None, 1100, id="unguided"),
        pytest.param(
            [LOCAL, GUIDELINE], [UNSURE, stage(2, accepted=False)],
            {"stage": 2, "baseline": 900, "degraded": "budget"}, (False, 250), None, id="out of money",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)], {"stage": 3, "status": 499},
            (False, 250), None, id="disconnected",
        ),
        pytest.param([GUIDELINE], [], {"status": 499}, None, None, id="before stage 1"),
    ],
)  # fmt: skip
def test_losses_are_learned(calls, stages, facts, tried, answered):
    """A request adds the money paid because of its guideline, or the cost of its large answer, or nothing."""
    guidelines = GuidelineRecords()
    log = request_log(
        task=TaskKind.MATH, cascade_log=CascadeLog(stages=list(stages)), calls=list(calls), **facts
    )
    learn(guidelines, Cascade(), finish(log))
    record = guidelines._records[KEY]
    assert list(record.guided) == ([] if tried is None else [tried])
    assert list(record.answers) == ([] if answered is None else [answered])


@pytest.mark.parametrize(
    ("cascade", "controls"),
    [
        (Cascade(skip_losses=False), Controls()),
        (Cascade(plans="all"), Controls()),
        (Cascade(thresholds={"math": Thresholds(stage1=0.5)}), Controls()),
        (Cascade(), Controls(mode="cascade")),
        (Cascade(), Controls(max_stage=2)),
        (Cascade(), Controls(budget=0)),
        (Cascade(), Controls(thresholds=(1.0, 1.0))),
        (Cascade(), Controls(samples=2)),
    ],
)
def test_fixed_requests_keep_guidelines(cascade, controls):
    """A config or a header that fixes how a request runs is obeyed, and such a request is not recorded."""
    assert not may_skip_guidelines(cascade, TaskKind.MATH, controls)
    other = Cascade(thresholds={"code": Thresholds(stage1=0.5)})
    assert may_skip_guidelines(other, TaskKind.MATH, Controls())
    guidelines = GuidelineRecords()
    log = request_log(
        task=TaskKind.MATH,
        cascade_log=CascadeLog(stages=[UNSURE]),
        calls=[LOCAL, GUIDELINE],
        controls=controls,
    )
    learn(guidelines, cascade, finish(log))
    assert not guidelines._records[KEY].guided
