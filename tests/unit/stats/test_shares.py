"""Shares of few items: intervals that cover, tests that hold their risk, and the number of items that a test needs."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.shares import interval, needed, p_below, upper_share

GRADES = st.lists(st.floats(0, 1), max_size=30)


def at_most(bad, of, share):
    """The chance of at most so many bad ones, in exact arithmetic."""
    p = Fraction(share)
    return sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(bad + 1))


@pytest.mark.parametrize(("bad", "of"), [(0, 10), (3, 20), (196, 200), (355, 400), (30, 600), (570, 600)])
def test_upper_share_is_exact(bad, of):
    """At the bound, so few bad ones have a chance of one in twenty."""
    assert float(at_most(bad, of, upper_share(bad, of))) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("of", [10, 1000, 10**5])
def test_upper_shares_that_are_known(of):
    """Clopper and Pearson's have a closed form where none, and where all but one, are bad."""
    assert upper_share(0, of) == pytest.approx(1 - 0.05 ** (1 / of), rel=1e-9)
    assert 1 - upper_share(of - 1, of) == pytest.approx(1 - 0.95 ** (1 / of), rel=1e-6)


def test_faultless_items_prove_little():
    """None of 12 is bad: up to 26 % may be. A bootstrap says 0 to 0."""
    assert interval([0.0] * 12) == pytest.approx((0.0, 0.2646), abs=1e-4)
    assert interval([1.0] * 12) == pytest.approx((0.7354, 1.0), abs=1e-4)
    assert interval([]) == (0.0, 1.0)


@given(GRADES)
def test_intervals_have_a_width(values):
    """No number of items fixes a share. The interval is around the mean."""
    low, high = interval(values)
    assert 0 <= low < high <= 1
    assert not values or low - 1e-9 <= sum(values) / len(values) <= high + 1e-9


@pytest.mark.parametrize("of", [1, 12, 40])
def test_intervals_cover_counts(of):
    """Whatever the true share, with at least 95 %, in exact arithmetic."""
    found = [interval([1.0] * k + [0.0] * (of - k)) for k in range(of + 1)]
    for percent in range(1, 100):
        share = Fraction(percent, 100)
        inside = [k for k, (low, high) in enumerate(found) if low <= share <= high]
        covered = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in inside)
        assert covered >= Fraction(95, 100)


def test_intervals_cover_grades():
    """Of 300 samples of grades, hardly more than 5 % miss the true mean."""
    lot = random.Random(1)
    grades = [0.0, 0.0, 0.0, 0.1, 0.3, 1.0]
    mean = sum(grades) / len(grades)
    missed = 0
    for _ in range(300):
        low, high = interval(lot.choices(grades, k=40))
        missed += not low <= mean <= high
    assert missed <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.1]], ids=["counts", "grades"])
@pytest.mark.parametrize("limit", [0.02, 0.05, 0.3])
def test_a_mean_at_the_limit(values, limit):
    """Of 1,000 samples whose mean is exactly the limit, at most 5 % (and chance) show that it is below."""
    lot = random.Random(2)
    share = min(1.0, limit / values[1])
    weights = (1 - share, share)
    limit = share * values[1]
    shown = sum(p_below(lot.choices(values, weights, k=120), limit) <= 0.05 for _ in range(1000))
    assert shown <= 1000 * 0.05 + 3 * math.sqrt(1000 * 0.05 * 0.95)


def test_nothing_is_below_zero():
    """A limit of 0 is shown by no number of items, and no item shows nothing."""
    assert p_below([0.0] * 10**4, 0.0) == 1.0
    assert p_below([], 0.5) == 1.0
    assert p_below([0.0] * 59, 0.05) <= 0.05 < p_below([0.0] * 58, 0.05)


@given(st.integers(0, 12), st.integers(1, 40), st.floats(0.01, 0.9), st.sampled_from([0.01, 0.05, 0.2]))
def test_needed_items_suffice(bad, of, limit, risk):
    """As many items with the same share pass the test, unless the share is no lower than the limit."""
    share = min(bad, of) / of
    count = needed(share, limit, risk)
    if count is None:
        assert share >= limit or limit - share < 0.02
    else:
        bad_ones = math.ceil(share * count - 1e-9)
        assert p_below([1.0] * bad_ones + [0.0] * (count - bad_ones), limit) <= risk


@pytest.mark.parametrize(("limit", "count"), [(0.05, 59), (0.01, 299), (0.5, 5), (0.0, None)])
def test_items_for_a_faultless_share(limit, count):
    """The rule of three, and none for a limit of 0."""
    assert needed(0.0, limit, 0.05) == count
