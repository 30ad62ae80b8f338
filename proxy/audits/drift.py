"""Drift: whether accepted answers still agree with the large model's as often as they have to.

Each week, from Monday in the time zone of budgets, is tested by itself, for each task kind and stage.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from proxy.ledger.audits import Audited
from proxy.ledger.windows import window_start
from proxy.stats.betting import p_values

RISK = 0.05
"""Chance that a week of a task kind and stage ever counts as drift although enough agree."""


def drifting(found: Sequence[Audited], expected: float) -> Iterator[bool]:
    """Say after each audit whether fewer agree than expected, and so few that chance does not explain it.

    Looking after each audit does no harm: the chance that it is ever said although enough agree is at most `RISK`. That
    assumes that each next audit agrees with a chance of at least `expected`, whatever those before came to; one client's
    run of like questions, all answered wrongly, may be taken for drift. Source: that of `p_values`.

    Args:
        found: audits with a verdict, of the accepted answers of one week, task kind and stage, in order of time.
        expected: the share that has to agree, 0..1.
    """
    chances = p_values((float(not a.agreed) for a in found), 1 - expected)
    agreed = 0
    for count, (audit, p) in enumerate(zip(found, chances, strict=True), 1):
        agreed += bool(audit.agreed)
        # Where all have to agree, one that differs is proof.
        yield agreed < expected * count and (p <= RISK or expected >= 1)


def first_alarm(found: Sequence[Audited], expected: float, since: datetime) -> int | None:
    """Return which audit since a time is the first one that differs while there is drift; arguments as in `drifting`."""
    said = enumerate(zip(found, drifting(found, expected), strict=True))
    return next((i for i, (a, low) in said if low and not a.agreed and a.created_at >= since), None)


def weeks_of_drift(
    found: Sequence[Audited], expected: float, zone: ZoneInfo
) -> dict[tuple[str, int], datetime]:
    """Return when the last week with drift at its end, or now, began, by task kind and stage.

    Args:
        found: audits with a verdict, in order of time; whole weeks of them.
        expected: the share that has to agree, 0..1.
        zone: whose Monday begins a week.
    """

    def test(audit: Audited) -> tuple[str, int, datetime]:
        return audit.task, audit.stage, window_start("week", audit.created_at, zone)

    weeks = {}
    for (task, stage, week), audits in groupby(sorted((a for a in found if a.accepted), key=test), key=test):
        *_, at_end = drifting(list(audits), expected)
        if at_end:
            weeks[task, stage] = week
    return weeks
