"""The watch over audits: it is seldom wrong, however often it looks, and it sees a real drop."""

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


def test_a_week_in_which_enough_agree_hardly_ever_counts_as_drift():
    """Though each of its 300 audits is looked at; a 95 % interval at each one cries wolf in a quarter of such weeks."""
    alarmed = sum(any(drifting(week, EXPECTED)) for week in weeks(EXPECTED))
    assert alarmed / 400 <= RISK + 0.02


def test_the_worst_order_of_agreement_is_no_way_around_it():
    """Agreement may depend on what came before, as long as each next audit agrees often enough."""
    lot, alarmed = random.Random(6), 0
    for _ in range(300):
        agreed, differed = [], 0
        for _ in range(200):
            # Who wants an alarm keeps up the chance of one while it is near, and gives up when it is far.
            chance = EXPECTED if differed > 0.1 * len(agreed) or len(agreed) < 20 else 1.0
            agreed.append(lot.random() < chance)
            differed += not agreed[-1]
        alarmed += any(drifting(audits(agreed), EXPECTED))
    assert alarmed / 300 <= RISK + 0.025


@pytest.mark.parametrize(("share", "within"), [(0.5, 40), (0.7, 100), (0.8, 300)])
def test_a_real_drop_is_noticed(share, within):
    """The larger it is, the sooner."""
    noticed = sum(any(drifting(week, EXPECTED)) for week in weeks(share, within, of=200))
    assert noticed / 200 >= 0.9


def test_what_has_recovered_is_no_drift():
    """A bad beginning is made up for: the log must not say that 190 of 200 are fewer than 90 %."""
    said = list(drifting(audits([False] * 8 + [True] * 192), EXPECTED))
    assert any(said)
    assert not said[-1]


def test_where_all_have_to_agree_one_that_differs_is_drift():
    """And nothing is, where none have to."""
    assert list(drifting(audits([True, True, False]), 1.0)) == [False, False, True]
    assert not any(drifting(audits([False] * 50), 0.0))


def test_the_first_alarm_of_a_day_is_found_each_day():
    """Yesterday's has been told yesterday."""
    found = audits([False] * 10) + audits([True, False, False], MONDAY + timedelta(days=1))
    assert first_alarm(found, EXPECTED, MONDAY) == 4
    assert first_alarm(found, EXPECTED, MONDAY + timedelta(days=1)) == 11
    assert first_alarm(found, EXPECTED, MONDAY + timedelta(days=2)) is None


def test_each_week_kind_and_stage_is_tested_by_itself():
    """Four and four that differ are chance twice; refused answers do not count; the last week with drift is told."""
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
    # Where Monday begins an hour later, the first hour is of the week before.
    (week,) = weeks_of_drift(audits([False] * 9), EXPECTED, ZoneInfo("Atlantic/Cape_Verde")).values()
    assert week == MONDAY - timedelta(days=7) + timedelta(hours=1)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_the_running_p_value_is_that_of_each_beginning(agreed, bound):
    """It never rises, so that looking again takes nothing back."""
    values = [float(one) for one in agreed]
    running = list(p_values(values, bound))
    assert running == [p_value(values[: i + 1], bound) for i in range(len(values))]
    assert running == sorted(running, reverse=True)
