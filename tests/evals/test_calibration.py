"""Thresholds for a target: what is certified holds, and what cannot be certified is not chosen."""

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from proxy.evals.calibration import Target, calibrate, from_audits, rate, ways
from proxy.evals.modes import MODES, Thresholds
from proxy.evals.trial import Paid, Trial, Vote
from proxy.ledger.audits import Audited

SHARES = st.sampled_from([0.25, 0.5, 0.75, 1.0])
RIGHT = st.sampled_from([0.0, 1.0])
VOTES = st.builds(Vote, SHARES, RIGHT)
PAID = st.builds(Paid, RIGHT, st.integers(1, 10**6), st.just(100))
TRIALS = st.lists(
    st.builds(
        Trial,
        st.just("x"),
        st.just("math"),
        st.just("math"),
        st.just((0.75, 0.5)),
        RIGHT,
        VOTES,
        VOTES,
        VOTES,
        st.integers(0, 1000),
        PAID,
        PAID,
    ),
    min_size=1,
    max_size=12,
)


def drawn(count, seed, *, sure_right, unsure_right, large_right):
    """Trials of a small model that is sure of half of the items."""
    lot = random.Random(seed)
    out = []
    for i in range(count):
        sure = lot.random() < 0.5
        score = float(lot.random() < (sure_right if sure else unsure_right))
        vote = Vote(1.0 if sure else 0.25, score)
        large = Paid(float(lot.random() < large_right), 1000, 100)
        out.append(Trial(str(i), "math", "math", (0.75, 0.5), score, vote, vote, vote, 200, large, large))
    return out


def test_a_small_model_that_is_right_when_it_is_sure_saves_money():
    """The certified way accepts what it is sure of, and holds the target on items that it has never seen."""
    choice = calibrate(
        drawn(600, 1, sure_right=0.99, unsure_right=0.1, large_right=0.8), Target("quality", 0.95), risk=0.05
    )
    assert choice.chosen is not None
    assert choice.chosen.cost_share < 0.75
    fresh = rate(choice.chosen.way, drawn(5000, 2, sure_right=0.99, unsure_right=0.1, large_right=0.8))
    assert fresh.quality_share >= 0.95


def test_a_small_model_that_is_sure_and_wrong_is_not_certified():
    """Nothing is chosen, so the large model alone answers."""
    choice = calibrate(
        drawn(600, 3, sure_right=0.2, unsure_right=0.2, large_right=0.9), Target("quality", 0.99), risk=0.05
    )
    assert choice.chosen is None or choice.chosen.quality_share >= 0.99


def test_the_guarantee_holds_over_many_calibrations():
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


def test_too_few_items_certify_nothing():
    """Four items prove nothing, however well they went."""
    assert (
        calibrate(
            drawn(4, 6, sure_right=1, unsure_right=1, large_right=1), Target("quality", 0.99), risk=0.05
        ).chosen
        is None
    )


@given(TRIALS, SHARES, SHARES, SHARES)
def test_a_higher_threshold_never_sends_less_upstream(trials, one, other, stage2):
    """Raising stage 1's threshold moves items to later stages only, and so does raising stage 2's."""
    low, high = sorted((one, other))
    for mode in ("full cascade", "cascade, goals only", "cascade, no plans"):
        for trial in trials:
            assert (
                MODES[mode](trial, Thresholds(low, stage2)).stage
                <= MODES[mode](trial, Thresholds(high, stage2)).stage
            )
            assert (
                MODES[mode](trial, Thresholds(stage2, low)).stage
                <= MODES[mode](trial, Thresholds(stage2, high)).stage
            )


@given(TRIALS)
def test_the_frontier_is_not_beaten(trials):
    """No way is both better and no dearer than one on the frontier."""
    choice = calibrate(trials, Target("quality", 0.9), risk=0.05)
    rated = [rate(way, trials) for way in ways(trials)]
    for best in choice.frontier:
        assert not any(r.score > best.score and r.cost <= best.cost for r in rated)


def audits(count, agreeing, accepted_from=0.5):
    """Audits whose chance to agree depends on their confidence."""
    lot = random.Random(8)
    out = []
    for i in range(count):
        confidence = lot.choice(list(agreeing))
        agreed = lot.random() < agreeing[confidence]
        out.append(
            Audited(
                str(i), str(i), datetime.now(UTC), "math", 1, confidence, confidence >= accepted_from, agreed
            )
        )
    return out


def test_audits_raise_a_threshold_to_where_answers_agree():
    """What is below is not certified, and what is certified agrees as often as was asked."""
    choice = from_audits(audits(900, {0.75: 0.8, 0.875: 0.99, 1.0: 1.0}), 0.95, risk=0.05)
    assert choice.threshold == 0.875
    assert choice.agreed / choice.accepted >= 0.95


def test_audits_lower_a_threshold_that_refuses_what_agrees():
    """Refused answers are audited, too: those that the large model gives as well need not be refused."""
    found = audits(900, {0.5: 0.7, 0.625: 0.99, 0.75: 0.99, 1.0: 1.0}, accepted_from=0.75)
    assert from_audits(found, 0.95, risk=0.05).threshold == 0.625


def test_confidences_that_are_all_different_can_be_certified():
    """A probability is never seen twice: no single one may have to prove itself alone."""
    agreeing = {0.4 + i / 1000: 1.0 for i in range(600)}
    assert from_audits(audits(300, agreeing), 0.95, risk=0.05).threshold is not None


def test_audits_that_do_not_agree_certify_nothing():
    """However high the confidence, and however few the audits."""
    assert from_audits(audits(500, {0.75: 0.7, 1.0: 0.8}), 0.95, risk=0.05).threshold is None
    assert from_audits(audits(5, {1.0: 1.0}), 0.95, risk=0.05).threshold is None
