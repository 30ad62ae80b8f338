"""Thresholds for a target: what is certified holds, and what cannot be certified is not chosen."""

import random

import msgspec
import pytest
from hypothesis import given

from proxy.config.policy import NEVER
from proxy.errors import ConfigError
from proxy.evals.thresholds_from_runs import Target, calibrate, rate, ways
from proxy.evals.trial import Paid
from tests.support.trials import TRIALS, VOTED, drawn, planned_apart, spoiled


def test_confident_small_model_saves():
    """The certified way accepts what it is sure of, and holds the target on items that it has never seen."""
    choice = calibrate(
        drawn(600, 1, sure_right=0.99, unsure_right=0.1, large_right=0.8), Target("quality", 0.95), risk=0.05
    )
    assert choice.chosen is not None
    assert choice.chosen.cost_share < 0.75
    fresh = rate(choice.chosen.way, drawn(5000, 2, sure_right=0.99, unsure_right=0.1, large_right=0.8))
    assert fresh.quality_share >= 0.95


def test_overconfident_small_model():
    """Nothing is chosen, so the large model alone answers."""
    choice = calibrate(
        drawn(600, 3, sure_right=0.2, unsure_right=0.2, large_right=0.9), Target("quality", 0.99), risk=0.05
    )
    assert choice.chosen is None or choice.chosen.quality_share >= 0.99


def test_guarantee_over_many_calibrations():
    """Of 150 calibrations on a borderline model, hardly more than the risk certify a way that misses the target."""
    missed = 0
    for seed in range(150):
        choice = calibrate(
            drawn(120, 100 + seed, sure_right=0.78, unsure_right=0.3, large_right=0.8),
            Target("quality", 1.0),
            risk=0.1,
        )
        if choice.chosen is not None:
            truth = rate(
                choice.chosen.way, drawn(4000, 7, sure_right=0.78, unsure_right=0.3, large_right=0.8)
            )
            missed += truth.quality_share < 1.0 - 0.02  # the reference itself is a sample
    assert missed <= 150 * 0.1 + 12


def test_a_cost_target_is_held():
    """What is certified for a cost stays below it on fresh items."""
    limit = 900.0
    choice = calibrate(
        drawn(600, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", limit), risk=0.05
    )
    assert choice.chosen is not None
    fresh = rate(choice.chosen.way, drawn(5000, 5, sure_right=0.9, unsure_right=0.1, large_right=0.8))
    assert fresh.cost <= limit


def test_unreachable_cost():
    """The large model alone would be the dearest: what the small one says is free, and needs no test."""
    for limit in (0.0, 1.0):
        choice = calibrate(
            drawn(40, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", limit), risk=0.05
        )
        assert choice.chosen is not None
        assert (choice.chosen.way.stage1, choice.chosen.cost) == (0.0, 0.0)


def test_generous_cost():
    """Every way holds such a target, so the best is chosen."""
    choice = calibrate(
        drawn(40, 4, sure_right=0.9, unsure_right=0.1, large_right=0.8), Target("cost", 10.0**9), risk=0.05
    )
    assert choice.chosen is not None
    assert choice.chosen.score == max(r.score for r in choice.frontier)
    assert choice.chosen.cost > 0


def test_free_items():
    """A large model of one's own is free, too."""
    free = [
        msgspec.structs.replace(t, plan_cost=0, large=Paid(1.0, 0, 1), guided=Paid(1.0, 0, 1))
        for t in drawn(8, 4, sure_right=1, unsure_right=0, large_right=1)
    ]
    choice = calibrate(free, Target("cost", 0.0), risk=0.05)
    assert choice.chosen is not None
    assert choice.chosen.score == 1.0


def test_an_item_is_counted_once():
    """The same run named five times proves no more than once: it is refused."""
    once = drawn(20, 4, sure_right=1, unsure_right=1, large_right=1)
    with pytest.raises(ConfigError, match="math: 20 items occur twice"):
        calibrate(once * 5, Target("quality", 0.9), risk=0.05)


def test_different_sample_counts():
    """A confidence of four samples is another than one of eight: the kind is named."""
    mixed = [drawn(20, n, sure_right=1, unsure_right=1, large_right=1, n=n) for n in (4, 8)]
    with pytest.raises(ConfigError, match="math: votes of 4, 8 samples"):
        calibrate(mixed[0] + mixed[1], Target("quality", 0.9), risk=0.05)


def test_items_without_stage_2():
    """Where the planner wrote no guideline, the full cascade goes from stage 1 to stage 3."""
    bare = [
        msgspec.structs.replace(t, second=None)
        for t in drawn(20, 4, sure_right=1, unsure_right=0, large_right=1)
    ]
    assert {way.stage2 for way in ways(bare)} == {NEVER}
    assert calibrate(bare, Target("quality", 0.9), risk=0.05).frontier


def test_too_few_items_certify_nothing():
    """Four items prove nothing, however well they went."""
    assert (
        calibrate(
            drawn(4, 6, sure_right=1, unsure_right=1, large_right=1), Target("quality", 0.99), risk=0.05
        ).chosen
        is None
    )


def test_expensive_small_model():
    """Its votes hold the quality, and so does the large model alone, for less."""
    dear = spoiled(drawn(600, 1, sure_right=1, unsure_right=1, large_right=0.8), 1, cost=2000, score=1.0)
    assert calibrate(dear, Target("quality", 0.9), risk=0.05).chosen is None


def test_many_distinct_confidences():
    """A thousand of them would be a million pairs; the lowest and the highest are always among those tried."""
    lot = random.Random(0)
    trials = [
        msgspec.structs.replace(
            t, **{name: msgspec.structs.replace(t.first, confidence=lot.random()) for name in VOTED}
        )
        for t in drawn(1000, 0, sure_right=1, unsure_right=0, large_right=1)
    ]
    found = ways(trials)
    assert len(found) < 1200
    confidences = [t.first.confidence for t in trials]
    tried = {way.stage1 for way in found if way.plans == "goals"}
    assert (min(tried), max(tried)) == (min(confidences), max(confidences))


@given(TRIALS)
def test_the_frontier_is_not_beaten(trials):
    """No way is both better and no dearer than one on the frontier."""
    choice = calibrate(trials, Target("quality", 0.9), risk=0.05)
    rated = [rate(way, trials) for way in ways(trials)]
    for best in choice.frontier:
        assert not any(r.score > best.score and r.cost <= best.cost for r in rated)


def test_guidelines_of_two_planners_do_not_mix():
    """A way with guidelines would be certified for a planner that wrote only a part of them."""
    own, other = (drawn(20, seed, sure_right=1, unsure_right=1, large_right=1) for seed in (1, 2))
    with pytest.raises(ConfigError) as e:
        calibrate([*own, *planned_apart(other)], Target("quality", 0.9), risk=0.05)
    assert e.value.problems == [
        "math: guidelines of mini and the large model; name runs with the same cascade.planner"
    ]
