"""The pauses between attempts, and their end."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from proxy.alerts.delivery import GIVE_UP_AFTER, next_attempt

START = datetime(2026, 11, 27, tzinfo=UTC)


@given(attempts=st.integers(1, 10**9), late=st.timedeltas(timedelta(), timedelta(days=400)))
def test_attempts_are_bounded(attempts, late):
    """The next attempt is at most 15 minutes away and not after 24 hours. After these there is none."""
    at = START + late
    found = next_attempt(START, attempts, at)
    assert (found is None) == (late >= GIVE_UP_AFTER)
    if found is not None:
        assert at < found <= min(at + timedelta(minutes=15), START + GIVE_UP_AFTER)


def test_pauses_double():
    """5, 10, 20 seconds and so on, so that an absent receiver is asked about a hundred times a day."""
    pauses = [(next_attempt(START, n, START) - START).total_seconds() for n in range(1, 10)]
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900]
    at, attempts = START, 0
    while at is not None:
        attempts += 1
        last, at = at, next_attempt(START, attempts, at)
    assert last == START + GIVE_UP_AFTER
    assert 95 < attempts < 110
