"""Detect drift: accepted answers that agree with the large model's less often than expected.

Each week, task kind and stage is tested separately. A week begins on Monday in the time zone of budgets.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from proxy.ledger.audits import Audited
from proxy.ledger.windows import window_start
from proxy.stats.betting import p_values

RISK = 0.05
"""The chance that a week of one task kind and stage is called drift although enough answers agree."""


def drifting(found: Sequence[Audited], expected: float) -> Iterator[bool]:
    """Yield after each audit whether there is drift: significantly fewer audits agree than expected.

    The chance of any false alarm is at most `RISK`, although every audit is tested. This assumes that each audit agrees
    with a probability of at least `expected`, regardless of those before. A client that repeats a question which is
    answered wrongly may therefore look like drift. See `p_values` for the source.

    Args:
        found: audits with a verdict, of the accepted answers of one week, task kind and stage, in order of time.
        expected: the share of audits that should agree, 0..1.
    """
    chances = p_values((float(not a.agreed) for a in found), 1 - expected)
    agreed = 0
    for count, (audit, p) in enumerate(zip(found, chances, strict=True), 1):
        agreed += bool(audit.agreed)
        # If all audits should agree, one that differs is proof.
        yield agreed < expected * count and (p <= RISK or expected >= 1)


def first_alarm(found: Sequence[Audited], expected: float, since: datetime) -> int | None:
    """Return the index of the first disagreeing audit after `since` at which drift is detected, or None.

    The other arguments are those of `drifting`.
    """
    tested = enumerate(zip(found, drifting(found, expected), strict=True))
    return next((i for i, (a, drift) in tested if drift and not a.agreed and a.created_at >= since), None)


def weeks_of_drift(
    found: Sequence[Audited], expected: float, zone: ZoneInfo
) -> dict[tuple[str, int], datetime]:
    """Return the start of the most recent week that ended in drift, per task kind and stage.

    Args:
        found: audits with a verdict, in order of time, of complete weeks.
        expected: the share of audits that should agree, 0..1.
        zone: the time zone of the weeks.
    """

    def week_of(audit: Audited) -> tuple[str, int, datetime]:
        return audit.task, audit.stage, window_start("week", audit.created_at, zone)

    weeks = {}
    for (task, stage, week), audits in groupby(
        sorted((a for a in found if a.accepted), key=week_of), key=week_of
    ):
        if list(drifting(list(audits), expected))[-1]:
            weeks[task, stage] = week
    return weeks
