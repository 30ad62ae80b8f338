"""The record of guidelines: what loses money is left out, tried now and then, and comes back."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.engine import CascadeLog
from proxy.cascade.types import TaskKind
from proxy.config.controls import Controls
from proxy.config.schema import Cascade, Thresholds
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, StageRecord
from proxy.service.guideline_value import ANSWERS, TRIES, WINDOW, GuidelineRecords, learn, undecided
from proxy.service.request_log import RequestLog

KEY = "math", "gpt"


def record(tries, answers=(1000,) * ANSWERS, lot=1.0):
    guidelines = GuidelineRecords(lambda: lot)
    for cost in answers:
        guidelines.answered(*KEY, cost)
    for accepted, paid in tries:
        guidelines.tried(*KEY, accepted=accepted, paid=paid)
    return guidelines


@given(st.integers(0, WINDOW), st.integers(0, 2000), st.integers(0, 10**6))
def test_only_a_loss_leaves_guidelines_out(accepted, paid, before):
    """However the accepted ones are strewn, and whatever there was before the last requests."""
    tries = [(i < accepted, paid) for i in range(WINDOW)]
    random.Random(before).shuffle(tries)
    losing = record([(True, before % 500)] * 7 + tries).left_out(*KEY)
    assert not losing or accepted * 1000 < WINDOW * paid
    assert losing or accepted * 1000 > WINDOW * (paid - 75)  # two standard errors are 71 at most


@pytest.mark.parametrize(
    ("tries", "answers"), [([(False, 250)] * (WINDOW - 1), ANSWERS), ([(False, 250)] * WINDOW, ANSWERS - 1)]
)
def test_little_is_no_evidence(tries, answers):
    """Neither few requests nor a price of which little is known."""
    assert not record(tries, [1000] * answers).left_out(*KEY)
    assert record([(False, 250)] * WINDOW).left_out(*KEY)


def test_what_is_left_out_is_tried_again_and_comes_back():
    """One request in twenty, drawn by lot; savings that outweigh the losses end it."""
    assert not record([(False, 250)] * WINDOW, lot=TRIES / 2).left_out(*KEY)
    back = record([(False, 250)] * WINDOW, lot=TRIES)
    assert back.left_out(*KEY)
    for _ in range(WINDOW // 2):
        back.tried(*KEY, accepted=True, paid=250)
    assert not back.left_out(*KEY)


def test_each_kind_and_model_has_its_own_record():
    """Nothing follows for another."""
    losing = record([(False, 250)] * WINDOW)
    assert not losing.left_out("agent", "gpt")
    assert not losing.left_out("math", "o3")


@pytest.mark.parametrize(("accepts", "least", "most"), [(0.085, 0.9, 0.96), (0.3, 0, 0.02), (0.4, 0, 0)])
def test_a_stage_that_earns_its_price_is_not_left_out_by_chance(accepts, least, most):
    """A guideline costs a quarter of an answer: a stage 2 that accepts three in ten earns, one in twelve does not."""
    lot = random.Random(6)
    guidelines, out = GuidelineRecords(lot.random), 0
    for _ in range(ANSWERS):
        guidelines.answered(*KEY, 1000)
    for _ in range(20_000):
        if guidelines.left_out(*KEY):
            out += 1
        else:
            guidelines.tried(*KEY, accepted=lot.random() < accepts, paid=250)
    assert least <= out / 20_000 <= most


def test_a_change_is_logged_once(caplog):
    """With the amount, and where to turn it off."""
    record([(False, 2_000_000)] * (WINDOW + 5) + [(True, 0)] * WINDOW, [10**9] * ANSWERS)
    left, back = (r.getMessage() for r in caplog.records)
    assert left == (
        "guidelines for math tasks, before gpt, lost 0.4 USD in the last 200 requests that had one: tried once in 20 from "
        "now on (cascade.skip_losses)"
    )
    assert back.endswith("they are back (cascade.skip_losses)")


def call(stage, role, cost, tier="large"):
    return CallRecord(
        id="c", request_id="r", key_id=None, started_at=datetime.now(UTC), stage=stage, role=role, tier=tier, model="m",
        sample=None, usage=Usage(prompt_tokens=1, completion_tokens=1), cost=cost, price=Price(input=1, output=1),
        latency_ms=1, finish_reason="stop", estimated=False,
    )  # fmt: skip


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
        pytest.param([LOCAL, GUIDELINE], [SURE], {"stage": 1, "baseline": 900}, None, None, id="ahead, in vain"),
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
def test_what_a_request_tells(calls, stages, facts, tried, answered):
    """What was paid because of a guideline, and whether it made an answer needless; else what an answer costs."""
    told = []

    class Told(GuidelineRecords):
        def tried(self, kind, large, *, accepted, paid):
            told.append(((kind, large), "tried", (accepted, paid)))

        def answered(self, kind, large, cost):
            told.append(((kind, large), "answered", cost))

    trace = RequestLog(None, "cascade", story=CascadeLog(stages=stages), calls=calls, task="math")
    for name, value in facts.items():
        setattr(trace, name, value)
    learn(Told(), trace, "gpt")
    assert told == [
        (KEY, name, value) for name, value in (("answered", answered), ("tried", tried)) if value is not None
    ]


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
def test_who_says_how_to_run_is_obeyed(cascade, controls):
    """And does not count: a client that accepts nothing must not spoil the record for the others."""
    assert not undecided(cascade, TaskKind("math"), controls)
    assert undecided(Cascade(thresholds={"code": Thresholds(stage1=0.5)}), TaskKind("math"), Controls())
