"""Bootstrap intervals and the figures of a report."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stats import bootstrap


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0.9, 1), (0.8, 1), (0.2, 0), (0.1, 0)], 1.0),
        ([(0.1, 1), (0.9, 0)], 0.0),
        ([(0.5, 1), (0.5, 0)], 0.5),
        ([(0.9, 1), (0.5, 0), (0.5, 1), (0.1, 0)], 0.875),
    ],
)
def test_auroc_of_ranks(rows, expected):
    """The share of pairs in which the right answer is the surer one, ties by half."""
    assert bootstrap.auroc(rows) == expected


def test_auroc_is_undefined():
    """There is nothing to tell apart."""
    assert math.isnan(bootstrap.auroc([(0.5, 1), (0.7, 1)]))


def test_interval_skips_undefined_resamples():
    """Few right answers are missing from many resamples, which then have no AUROC."""
    rows = [(0.7, 1.0), *((i / 40, 0.0) for i in range(40))]
    low, high = bootstrap.interval(rows, bootstrap.auroc)
    assert low < bootstrap.auroc(rows) < high
    assert (low, high) == pytest.approx((0.56, 0.84), abs=0.06)
    assert all(map(math.isnan, bootstrap.interval([(0.7, 1.0), (0.2, 1.0)], bootstrap.auroc)))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_interval_and_calibration(rows):
    """The bootstrap's interval is around the mean, within what was seen; no row is lost between bins."""
    low, high = bootstrap.interval(rows, bootstrap.mean)
    assert min(r[0] for r in rows) - 1e-9 <= low <= high <= max(r[0] for r in rows) + 1e-9
    assert sum(n for _, _, n in bootstrap.calibration(rows)) == len(rows)
    assert 0 <= bootstrap.calibration_error(rows) <= 1
