"""The records of guidelines: what is learned of a request, who gets a guideline, and what a stream of requests comes to."""

import random

import pytest

from proxy.cascade.engine import CascadeLog
from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, StageRecord
from proxy.service.finished import finish
from proxy.service.guideline_records import (
    LOGGED,
    TRY_SHARE,
    WINDOW,
    GuidelineRecords,
    agreement,
    learn,
    may_skip_guidelines,
)
from proxy.service.guideline_value import MIN_ANSWERS, Answered, Features, Guided, length_of
from tests.support.requests import request_log

KEY = "math", "gpt"
SIZE = 60
LENGTH = length_of(SIZE)


def outcome(*, accepted=False, price=250, share=0.5):
    return Guided(features=Features(LENGTH, share), accepted=accepted, price=price, extra=0)


def records(guided, draw=1.0):
    guidelines = GuidelineRecords(lambda: draw)
    for _ in range(MIN_ANSWERS):
        guidelines.add_answer(*KEY, Answered(LENGTH, 1000))
    for one in guided:
        guidelines.add_guided(*KEY, one)
    return guidelines


def test_losing_guidelines_are_skipped_but_tried():
    """One request in twenty gets one in any case, and savings that outweigh the losses end the skipping."""
    lost = [outcome()] * WINDOW
    assert records(lost, draw=TRY_SHARE / 2).gate(*KEY, SIZE)(0.5)
    back = records(lost, draw=TRY_SHARE)
    assert not back.gate(*KEY, SIZE)(0.5)
    assert not back.gate(*KEY, SIZE)(None)
    for _ in range(WINDOW // 2):
        back.add_guided(*KEY, outcome(accepted=True))
    assert back.gate(*KEY, SIZE)(0.5)


def test_records_are_separate():
    """Each task kind and large model has its own record, and buys while it knows nothing."""
    losing = records([outcome()] * WINDOW)
    assert losing.gate("agent", "gpt", SIZE)(0.5)
    assert losing.gate("math", "o3", SIZE)(0.5)


def simulated(chance, *, price=250, count=10_000, seed=6):
    """Return the shares of requests that are skipped, by the share of agreement that was drawn for them."""
    lot = random.Random(seed)
    guidelines = records([])
    guidelines._draw = lot.random
    seen, skipped = dict.fromkeys(chance, 0), dict.fromkeys(chance, 0)
    for _ in range(count):
        share = lot.choice(list(chance))
        seen[share] += 1
        if guidelines.gate(*KEY, SIZE)(share):
            accepted = lot.random() < chance[share]
            guidelines.add_guided(*KEY, outcome(accepted=accepted, price=price, share=share))
        else:
            skipped[share] += 1
    return {share: skipped[share] / seen[share] for share in chance}


@pytest.mark.parametrize(
    ("chance", "price", "least", "most"),
    [(0.085, 250, 0.9, 0.96), (0.4, 250, 0, 0.03), (0.085, 12, 0, 0.02), (0.085, 150, 0.8, 0.96)],
)
def test_flat_chances(chance, price, least, most):
    """A guideline at a quarter of an answer pays if stage 2 accepts four in ten, but not one in twelve. A cheap one does."""
    (skipped,) = simulated({0.5: chance}, price=price).values()
    assert least <= skipped <= most


def test_only_hopeless_requests_are_skipped():
    """Those that nearly agreed in stage 1 keep their guidelines, although guidelines lose money on average."""
    skipped = simulated({0.25: 0.02, 0.75: 0.45})
    assert skipped[0.25] > 0.85
    assert skipped[0.75] < 0.1


def test_skipping_is_logged(caplog):
    """After some decisions, with the figures and the option that turns this off. Without a skip there is nothing to say."""
    guidelines = records([outcome(price=2_000_000)] * WINDOW)
    for i in range(2 * LOGGED):
        guidelines.count(*KEY, skipped=i < 20)
    (message,) = (r.getMessage() for r in caplog.records)
    assert message == (
        "guidelines for math tasks with gpt: 20 of the last 200 requests went without, because a guideline would probably "
        "have cost more than it saves; stage 2 accepts 0 %, a guideline costs 0.002 USD and an answer 0.000001 USD "
        "(cascade.skip_losses)"
    )


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


def stage(number, *, accepted, agreed=4):
    return StageRecord(
        stage=number, drawn=4, planned=4, agreed=agreed, confidence=1.0, threshold=0.75, accepted=accepted
    )


LOCAL, GUIDELINE, ANSWER = (
    call(1, "executor", 5, "small"),
    call(2, "planner", 250),
    call(3, "executor", 1100),
)
UNSURE, SURE = stage(1, accepted=False, agreed=1), stage(1, accepted=True)


@pytest.mark.parametrize(
    ("calls", "stages", "facts", "tried", "answered"),
    [
        pytest.param([LOCAL], [SURE], {"stage": 1, "baseline": 900}, None, None, id="stage 1"),
        pytest.param([LOCAL, GUIDELINE], [SURE], {"stage": 1, "baseline": 900}, None, None, id="planned ahead, not needed"),
        pytest.param(
            [LOCAL, GUIDELINE, call(2, "executor", 5, "small")], [UNSURE, stage(2, accepted=True)],
            {"stage": 2, "baseline": 900}, (True, 250, 5), None, id="stage 2",
        ),
        pytest.param(
            [LOCAL, call(2, "executor", 5, "small")], [UNSURE, stage(2, accepted=True)],
            {"stage": 2, "baseline": 900}, (True, None, 5), None, id="a kept guideline",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)], {"stage": 3, "baseline": 1000, "model": "gpt"},
            (False, 250, 100), 1000, id="stage 3",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)],
            {"stage": 3, "baseline": 1000, "model": "stand-in"}, (False, 250, 100), None, id="a fallback",
        ),
        pytest.param([LOCAL, ANSWER], [UNSURE], {"stage": 3, "baseline": 1100, "model": "gpt"}, None, 1100, id="unguided"),
        pytest.param(
            [LOCAL, GUIDELINE], [UNSURE, stage(2, accepted=False)],
            {"stage": 2, "baseline": 900, "degraded": "budget"}, (False, 250, 0), None, id="out of money",
        ),
        pytest.param(
            [LOCAL, GUIDELINE, ANSWER], [UNSURE, stage(2, accepted=False)], {"stage": 3, "status": 499},
            (False, 250, 0), None, id="disconnected",
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
    found = [(one.accepted, one.price, one.extra) for one in record.guided]
    assert found == ([] if tried is None else [tried])
    assert all(one.features == Features(LENGTH, 0.25) for one in record.guided)
    assert list(record.answers) == ([] if answered is None else [Answered(LENGTH, answered)])
    assert (record.decisions, record.skipped) == (len(found), 0)


def test_skipped_guidelines_are_counted():
    """The answer of stage 3 still says what an answer costs."""
    guidelines = GuidelineRecords()
    log = request_log(
        task=TaskKind.MATH, cascade_log=CascadeLog(stages=[UNSURE], guideline_skipped=True), calls=[LOCAL, ANSWER],
        stage=3, baseline=1100, model="gpt",
    )  # fmt: skip
    learn(guidelines, Cascade(), finish(log))
    record = guidelines._records[KEY]
    assert (record.decisions, record.skipped, len(record.guided), len(record.answers)) == (1, 1, 0, 1)


def test_agreement_of_nothing():
    """A stage that drew nothing agreed on nothing."""
    nothing = StageRecord(
        stage=1, drawn=0, planned=4, agreed=0, confidence=0.0, threshold=0.75, accepted=False
    )
    assert (agreement(nothing), agreement(UNSURE)) == (0.0, 0.25)


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
