"""P-values by betting."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.betting import p_value

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
