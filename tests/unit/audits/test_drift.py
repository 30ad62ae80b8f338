"""Drift detection: false alarms are rare, and a real drop is noticed."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audits.drift import RISK, drifting, first_alarm, weeks_of_drift
from proxy.ledger.audits import Audited
from proxy.stats.betting import p_value, p_values

EXPECTED = 0.9
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def audits(agreed, begin=MONDAY, *, task="math", stage=1, accepted=True):
    """One audit a minute."""
    return [
        Audited(
            id=f"{task}-{stage}-{begin:%m%d}-{i}",
            request_id=f"r{i}",
            created_at=begin + timedelta(minutes=i),
            task=task,
            stage=stage,
            confidence=1.0,
            accepted=accepted,
            agreed=one,
            small_model="small",
            large_model="large",
            samples=8,
            spent_nano=None,
            large_nano=None,
        )
        for i, one in enumerate(agreed)
    ]


def weeks(share, count=300, *, of=400):
    lot = random.Random(5)
    return [audits([lot.random() < share for _ in range(count)]) for _ in range(of)]


def test_false_alarms_are_rare():
    """Testing after each of 300 audits keeps the risk. A 95 % interval at each would raise one in a quarter of weeks."""
    alarmed = sum(any(drifting(week, EXPECTED)) for week in weeks(EXPECTED))
    assert alarmed / 400 <= RISK + 0.02


def test_the_worst_order():
    """Agreement may depend on earlier audits, as long as each next one agrees with the expected probability."""
    lot, alarmed = random.Random(6), 0
    for _ in range(300):
        agreed, differed = [], 0
        for _ in range(200):
            # An adversary keeps disagreement likely while an alarm is near, and stops when it is far.
            chance = EXPECTED if differed > 0.1 * len(agreed) or len(agreed) < 20 else 1.0
            agreed.append(lot.random() < chance)
            differed += not agreed[-1]
        alarmed += any(drifting(audits(agreed), EXPECTED))
    assert alarmed / 300 <= RISK + 0.025


@pytest.mark.parametrize(("share", "within"), [(0.5, 40), (0.7, 100), (0.8, 300)])
def test_a_real_drop_is_noticed(share, within):
    """A larger drop is noticed sooner."""
    noticed = sum(any(drifting(week, EXPECTED)) for week in weeks(share, within, of=200))
    assert noticed / 200 >= 0.9


def test_recovery_ends_drift():
    """After a bad beginning, 192 of 200 audits that agree are not fewer than 90 %."""
    drift = list(drifting(audits([False] * 8 + [True] * 192), EXPECTED))
    assert any(drift)
    assert not drift[-1]


def test_extreme_expectations():
    """If all audits should agree, one that differs is drift. If none need to, nothing is."""
    assert list(drifting(audits([True, True, False]), 1.0)) == [False, False, True]
    assert not any(drifting(audits([False] * 50), 0.0))


def test_first_alarm_of_a_day():
    """Each day has its own first alarm; earlier days do not count."""
    found = audits([False] * 10) + audits([True, False, False], MONDAY + timedelta(days=1))
    assert first_alarm(found, EXPECTED, MONDAY) == 4
    assert first_alarm(found, EXPECTED, MONDAY + timedelta(days=1)) == 11
    assert first_alarm(found, EXPECTED, MONDAY + timedelta(days=2)) is None


def test_weeks_are_tested_separately():
    """Each week, task kind and stage is tested separately, refused answers do not count, and the latest week is returned."""
    later = MONDAY + timedelta(days=7)
    found = [
        *audits([False] * 4),
        *audits([False] * 4, later),
        *audits([False] * 4, stage=2),
        *audits([False] * 9, task="open", accepted=False),
        *audits([False] * 9, task="code"),
        *audits([False] * 9, later, task="code", stage=2),
        *audits([False] * 9, task="code", stage=2),
    ]
    found.sort(key=lambda a: a.created_at)
    utc = weeks_of_drift(found, EXPECTED, ZoneInfo("UTC"))
    assert utc == {("code", 1): MONDAY, ("code", 2): later}
    # In a zone one hour behind UTC, the first hour belongs to the week before.
    (week,) = weeks_of_drift(audits([False] * 9), EXPECTED, ZoneInfo("Atlantic/Cape_Verde")).values()
    assert week == MONDAY - timedelta(days=7) + timedelta(hours=1)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_running_p_values(agreed, bound):
    """Each running value is the p value of the audits so far, and the values never rise."""
    values = [float(one) for one in agreed]
    running = list(p_values(values, bound))
    assert running == [p_value(values[: i + 1], bound) for i in range(len(values))]
    assert running == sorted(running, reverse=True)
