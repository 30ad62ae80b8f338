"""A limit of the regret: what is certified holds it, and what cannot be certified goes to the large model."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evals.targets import Target
from proxy.evals.thresholds_from_runs import calibrate, rate, ways
from proxy.evals.trial import Drawn, Paid, Trial, Vote
from tests.support.trials import TRIALS, USUAL, drawn

RISK = 0.1
SPLITS = 200
MOST_MISSED = SPLITS * RISK + 3 * math.sqrt(SPLITS * RISK * (1 - RISK))
LEVELS = (0.5, 1.0)


def population(regrets, *, grade=1.0, stage2=None):
    """Return a function that draws trials whose regret at each confidence is known.

    Args:
        regrets: the chance of a regret at each of `LEVELS`, in stage 1.
        grade: the size of a regret. Less than 1 stands for a judge's grade.
        stage2: the same chances in stage 2.
    """

    def one(lot, i):
        def vote(chances):
            level = lot.randrange(len(LEVELS))
            score = 1 - grade if lot.random() < chances[level] else 1.0
            return Vote(confidence=LEVELS[level], score=score, samples=[Drawn("42", score, 9, None)] * 4)

        first, paid = vote(regrets), Paid(1.0, 1000, 100)
        return Trial(
            item=str(i), task="math", detected="math", usual=USUAL, single=first.score, plain=first, first=first,
            second=vote(stage2 or regrets), plan_cost=100, large=paid, guided=paid,
        )  # fmt: skip

    def draw(count, seed):
        lot = random.Random(seed)
        return [one(lot, i) for i in range(count)]

    return draw


def true_regret(way, regrets, stage2, grade):
    """The regret among the accepted answers of a way, computed from the chances."""
    first = [r for level, r in zip(LEVELS, regrets, strict=True) if level >= way.stage1]
    second = [r for level, r in zip(LEVELS, stage2, strict=True) if level >= way.stage2]
    if way.plans != "all":
        return grade * sum(first) / len(first) if first else 0.0
    left = 1 - len(first) / len(LEVELS)
    found = sum(first) / len(LEVELS) + left * sum(second) / len(LEVELS)
    accepted = len(first) / len(LEVELS) + left * len(second) / len(LEVELS)
    return grade * found / accepted if accepted else 0.0


HOLDS, MISSES = (0.4, 0.02), (0.11, 0.11)
BORDERS = {
    "all levels miss by a little": (MISSES, None, 1.0, [Target("regret", 0.1)]),
    "the surest level misses by a little": ((0.6, 0.11), None, 1.0, [Target("regret", 0.1)]),
    "stage 2 spoils stage 1": (HOLDS, (0.4, 0.25), 1.0, [Target("regret", 0.09)]),
    "grades": ((0.9, 0.62), None, 0.5, [Target("regret", 0.3)]),
    "beside a quality": (MISSES, None, 1.0, [Target("regret", 0.1), Target("quality", 0.5)]),
    "beside a cost": (MISSES, None, 1.0, [Target("regret", 0.1), Target("cost", 900.0)]),
}


@pytest.mark.parametrize("border", BORDERS.values(), ids=list(BORDERS))
def test_limit_is_seldom_missed(border):
    """Of 200 splits, hardly more than the risk choose a way whose true regret is above the limit."""
    regrets, stage2, grade, targets = border
    draw = population(regrets, grade=grade, stage2=stage2)
    missed = 0
    for seed in range(SPLITS):
        chosen = calibrate(draw(100, seed), *targets, risk=RISK, seed=seed).chosen
        missed += (
            chosen is not None
            and true_regret(chosen.way, regrets, stage2 or regrets, grade) > targets[0].value
        )
    assert missed <= MOST_MISSED


def test_limit_alone_saves():
    """The cheapest way within the limit is chosen: it accepts the levels that hold it together."""
    regrets = (0.9, 0.02)
    choice = calibrate(population(regrets)(1200, 1), Target("regret", 0.05), risk=0.05)
    assert choice.chosen is not None
    assert choice.chosen.cost_share < 0.6
    assert true_regret(choice.chosen.way, regrets, regrets, 1.0) <= 0.05
    assert choice.certificate is not None
    assert choice.certificate.p <= 0.05
    assert (choice.certificate.items, choice.needed) == (600, None)


def test_quality_alone_allows_regret():
    """Answers that only the small model has right make up for regrets. A limit forbids that."""
    lot = random.Random(1)
    trials = [
        msgspec.structs.replace(t, large=Paid(float(lot.random() < 0.5), 1000, 100))
        for t in drawn(1000, 1, sure_right=0.8, unsure_right=0.1, large_right=0.5)
    ]
    free, limited = (
        calibrate(trials, Target("quality", 0.95), *more, risk=0.05)
        for more in ([], [Target("regret", 0.05)])
    )
    assert free.chosen is not None
    assert free.chosen.regret_share > 0.05
    assert (limited.chosen, limited.certified) == (None, 0)


def test_unreachable_limit():
    """No number of items helps if every way is above the limit, and none shows a regret of 0."""
    for chance, limit in ((0.2, 0.05), (0.0, 0.0)):
        choice = calibrate(population([chance] * 2)(200, 1), Target("regret", limit), risk=0.05)
        assert (choice.chosen, choice.certificate, choice.certified, choice.needed) == (None, None, 0, None)


def test_few_items_say_how_many():
    """A hundred faultless items are too few for 1 %. As many as are named suffice."""
    draw, limit = population([0.0] * 2), Target("regret", 0.01)
    few = calibrate(draw(100, 1), limit, risk=0.05)
    assert (few.chosen, few.needed) == (None, 598)
    enough = calibrate(draw(598, 2), limit, risk=0.05)
    assert (enough.certified > 0, enough.needed) == (True, None)


def test_uncertified_cost_accepts_nothing():
    """A cost alone is then met with whatever is cheapest. Beside a limit of the regret, the large model answers."""
    trials = population([0.2] * 2)(200, 1)
    assert calibrate(trials, Target("cost", 1.0), risk=0.05).chosen is not None
    assert calibrate(trials, Target("cost", 1.0), Target("regret", 0.05), risk=0.05).chosen is None


@given(TRIALS, st.floats(0, 0.99))
def test_regret_of_any_trials(trials, limit):
    """Nothing is chosen without a certificate, and each rated way has the regret that its items have."""
    choice = calibrate(trials, Target("regret", limit), risk=0.05)
    assert (choice.chosen is None) == (choice.certificate is None)
    for way in ways(trials):
        if way.plans == "none":
            found = rate(way, trials)
            taken = [t for t in trials if t.plain.confidence >= way.stage1]
            assert (found.accepted, found.regret) == (
                len(taken),
                sum(t.large.score > t.plain.score for t in taken),
            )
