"""The record of what the cascade saves: what has saved nothing is left out, tried now and then, and comes back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.types import TaskKind
from proxy.config import Cascade, Thresholds
from proxy.service.request import Controls
from proxy.service.worth import TRIES, WINDOW, Part, Worth, undecided

PART = Part("math", "gpt", guided=True)
SEVERAL = st.lists(st.integers(-(10**9), 10**9), max_size=3 * WINDOW)


def worth_of(saved, lot=1.0):
    worth = Worth(lambda: lot)
    for one in saved:
        worth.note(PART, one)
    return worth


@given(SEVERAL)
def test_only_the_last_requests_count_and_only_when_there_are_enough(saved):
    """By their sum: many small losses may be worth one large saving."""
    assert worth_of(saved).skips(PART) == (len(saved) >= WINDOW and sum(saved[-WINDOW:]) <= 0)


def test_what_is_left_out_is_tried_again_and_comes_back():
    """One request in twenty, drawn by lot; savings that outweigh the losses end it."""
    worth = worth_of([-1] * WINDOW, lot=TRIES / 2)
    assert worth.poor(PART)
    assert not worth.skips(PART)
    assert worth_of([-1] * WINDOW, lot=TRIES).skips(PART)
    worth.note(PART, WINDOW)
    assert not worth.poor(PART)


@pytest.mark.parametrize(("accepts", "poor"), [(0.4, 0), (0.085, 1)])
def test_a_stage_that_earns_its_price_is_not_left_out_by_chance(accepts, poor):
    """A guideline costs a quarter of an answer: a stage 2 that accepts two in five earns, one in twelve does not."""
    lot = random.Random(6)
    worth, seen = Worth(), []
    for _ in range(20_000):
        worth.note(PART, (1000 if lot.random() < accepts else 0) - 250)
        seen.append(worth.poor(PART))
    assert sum(seen[WINDOW:]) / len(seen[WINDOW:]) == poor


def test_each_part_has_its_own_record():
    """Of one kind, model and stage nothing follows for another."""
    worth = worth_of([-1] * WINDOW)
    others = PART._replace(kind="agent"), PART._replace(large="o3"), PART._replace(guided=False)
    assert not any(worth.skips(other) for other in others)


def test_a_change_is_logged_once(caplog):
    """With the amount, and where to turn it off."""
    worth_of([-2_000_000] * (WINDOW + 5) + [10**9])
    left, back = (r.getMessage() for r in caplog.records)
    assert left == (
        "guidelines for math tasks, before gpt, cost 0.4 USD more than they saved in the last 200 requests: tried once in "
        "20 from now on (cascade.skip_losses)"
    )
    assert back.endswith("saved 0.602 USD in the last 200 requests: they are back (cascade.skip_losses)")


@pytest.mark.parametrize(
    ("cascade", "controls"),
    [
        (Cascade(skip_losses=False), Controls()),
        (Cascade(plans="all"), Controls()),
        (Cascade(thresholds={"math": Thresholds(stage1=0.5)}), Controls()),
        (Cascade(), Controls(mode="cascade")),
        (Cascade(), Controls(max_stage=2)),
        (Cascade(), Controls(thresholds=(1.0, 1.0))),
        (Cascade(), Controls(samples=2)),
    ],
)
def test_who_says_how_to_run_is_obeyed(cascade, controls):
    """And does not count: a client that accepts nothing must not spoil the record for the others."""
    assert not undecided(cascade, TaskKind("math"), controls)
    assert undecided(Cascade(thresholds={"code": Thresholds(stage1=0.5)}), TaskKind("math"), Controls())
