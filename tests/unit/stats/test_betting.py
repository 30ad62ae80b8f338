"""P-values by betting, and upper bounds of a share against exact arithmetic."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.betting import p_value, upper_share

VALUES = st.lists(st.floats(0, 1), max_size=60)


@given(VALUES, st.floats(0.01, 0.99))
def test_a_p_value_is_one(values, bound):
    """It lies in 0..1, and no data is no evidence."""
    assert 0 < p_value(values, bound) <= 1
    assert p_value([], bound) == 1


@given(VALUES, st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_small_values_are_no_evidence(values, bound, other):
    """Nothing speaks for a mean above the largest value."""
    top = max(values, default=0.0)
    assert p_value(values, max(top, 0.01)) == 1 or top >= 1


def test_true_hypothesis_survives():
    """Of 2,000 samples whose mean is exactly the bound, at most 5 % (and chance) come below 0.05."""
    lot = random.Random(1)
    rejected = sum(p_value([float(lot.random() < 0.6) for _ in range(100)], 0.6) <= 0.05 for _ in range(2000))
    assert rejected <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95)


def test_a_false_hypothesis_is_found():
    """With a mean well above the bound, 100 values are enough nearly always."""
    lot = random.Random(2)
    found = sum(p_value([float(lot.random() < 0.9) for _ in range(100)], 0.6) <= 0.05 for _ in range(200))
    assert found > 195


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
