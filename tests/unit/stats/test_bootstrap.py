"""The statistics behind reports and calibrations."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats import bootstrap
from proxy.stats.betting import p_value

VALUES = st.lists(st.floats(0, 1), max_size=60)


@given(VALUES, st.floats(0.01, 0.99))
def test_a_p_value_is_one(values, bound):
    """It lies in 0..1, and no data is no evidence."""
    assert 0 < p_value(values, bound) <= 1
    assert p_value([], bound) == 1


@given(VALUES, st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_values_at_most_the_bound_are_no_evidence(values, bound, other):
    """Nothing speaks for a mean above the largest value."""
    top = max(values, default=0.0)
    assert p_value(values, max(top, 0.01)) == 1 or top >= 1


def test_a_true_hypothesis_is_rarely_rejected():
    """Of 2,000 samples whose mean is exactly the bound, at most 5 % (and chance) come below 0.05."""
    lot = random.Random(1)
    rejected = sum(p_value([float(lot.random() < 0.6) for _ in range(100)], 0.6) <= 0.05 for _ in range(2000))
    assert rejected <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95)


def test_a_false_hypothesis_is_found():
    """With a mean well above the bound, 100 values are enough nearly always."""
    lot = random.Random(2)
    found = sum(p_value([float(lot.random() < 0.9) for _ in range(100)], 0.6) <= 0.05 for _ in range(200))
    assert found > 195


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0.9, 1), (0.8, 1), (0.2, 0), (0.1, 0)], 1.0),
        ([(0.1, 1), (0.9, 0)], 0.0),
        ([(0.5, 1), (0.5, 0)], 0.5),
        ([(0.9, 1), (0.5, 0), (0.5, 1), (0.1, 0)], 0.875),
    ],
)
def test_auroc(rows, expected):
    """The share of pairs in which the right answer is the surer one, ties by half."""
    assert bootstrap.auroc(rows) == expected


def test_auroc_of_one_kind_of_answer_is_not_a_number():
    """There is nothing to tell apart."""
    assert math.isnan(bootstrap.auroc([(0.5, 1), (0.7, 1)]))


def test_an_interval_leaves_out_resamples_without_a_figure():
    """Few right answers are missing from many resamples, which then have no AUROC."""
    rows = [(0.7, 1.0), *((i / 40, 0.0) for i in range(40))]
    low, high = bootstrap.interval(rows, bootstrap.auroc)
    assert low < bootstrap.auroc(rows) < high
    assert (low, high) == pytest.approx((0.56, 0.84), abs=0.06)
    assert all(map(math.isnan, bootstrap.interval([(0.7, 1.0), (0.2, 1.0)], bootstrap.auroc)))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_an_interval_contains_its_figure_and_a_calibration_counts_every_row(rows):
    """The bootstrap's interval is around the mean, within what was seen; no row is lost between bins."""
    low, high = bootstrap.interval(rows, bootstrap.mean)
    assert min(r[0] for r in rows) - 1e-9 <= low <= high <= max(r[0] for r in rows) + 1e-9
    assert sum(n for _, _, n in bootstrap.calibration(rows)) == len(rows)
    assert 0 <= bootstrap.calibration_error(rows) <= 1
