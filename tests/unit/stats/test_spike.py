"""A spike of spend: robust to little data, to one expensive day, and to amounts of any size."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.stats.spike import spike

USUAL = {"factor_milli": 3000, "least_days": 3, "least": 10}
amounts = st.integers(0, 2**63)


@given(
    today=amounts, earlier=st.lists(amounts, max_size=30), factor=st.integers(1001, 10**6),
    least_days=st.integers(1, 10), least=amounts,
)  # fmt: skip
def test_spike_is_what_it_says(today, earlier, factor, least_days, least):
    """The median is of the days with spend, and a spike is above it by the factor and the difference."""
    median = spike(today, earlier, factor_milli=factor, least_days=least_days, least=least)
    spent = [a for a in earlier if a > 0]
    if median is None:
        return
    assert len(spent) >= least_days
    assert min(spent) <= median <= max(spent)
    assert 2 * sum(a <= median for a in spent) >= len(spent)
    assert 1000 * today > factor * median
    assert today - median >= least


@given(today=amounts, earlier=st.lists(amounts, max_size=30))
def test_monotone(today, earlier):
    """More spend today never takes an alert back."""
    if spike(today, earlier, **USUAL) is not None:
        assert spike(today + 1, earlier, **USUAL) is not None


def test_little_data():
    """No days, days without spend and too few days raise nothing."""
    assert spike(10**12, [], **USUAL) is None
    assert spike(10**12, [0, 0, 0, 0], **USUAL) is None
    assert spike(10**12, [5, 5, 0, 0], **USUAL) is None
    assert spike(10**12, [5, 5, 5], **USUAL) == 5


def test_thresholds():
    """Exactly three times the median is no spike. One expensive day changes nothing, and rest days do not count."""
    assert spike(300, [100, 100, 100], **USUAL) is None
    assert spike(301, [100, 100, 100], **USUAL) == 100
    assert spike(301, [100, 100, 100, 100, 10**9], **USUAL) == 100
    assert spike(301, [100, 0, 100, 0, 100, 0, 0], **USUAL) == 100
    assert spike(9, [1, 1, 1], **USUAL) is None  # nine times, but the difference is small
