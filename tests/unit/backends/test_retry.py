"""Retries follow the upstream's own wish first, then its status, within the policy's limits."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.retry import RetryPolicy

POLICY = RetryPolicy(max_retries=3)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (503, {}, True),
        (504, {}, False),
        (400, {}, False),
        (400, {"x-should-retry": "true"}, True),
        (503, {"x-should-retry": "false"}, False),
        (503, {"x-should-retry": "maybe"}, True),
    ],
)
def test_retried_statuses(status, headers, expected):
    """`x-should-retry` overrides the status."""
    assert POLICY.retries(status, headers) is expected


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "5"}, 5),
        ({"retry-after": "6"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "3600000"}, None),
        ({"retry-after": "-1"}, 0),
    ],
)
def test_upstream_pause(headers, pause):
    """The upstream names the pause. A long one is no pause of the proxy."""
    assert POLICY.pause_s(0, headers) == pause


@pytest.mark.parametrize(("seconds", "is_long"), [(3, False), (3600, True)])
def test_pause_until_date(seconds, is_long):
    """Retry-After may be a date."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    pause = POLICY.pause_s(0, {"retry-after": date})
    assert pause is None if is_long else 0 <= pause <= seconds


@given(attempt=st.integers(0, 2), text=st.text(max_size=10))
def test_jitter_limits(attempt, text):
    """Without a usable wish, the pause grows with the attempts and stays within its limit."""
    headers = {"retry-after-ms": text + "?"}
    assert 0 <= POLICY.pause_s(attempt, headers) <= 0.5 * 2**attempt


def test_last_attempt():
    """After the last attempt there is no pause."""
    assert POLICY.pause_s(3, {"retry-after": "1"}) is None
