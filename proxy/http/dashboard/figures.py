"""The figures of the pages, computed from the reports of the ledger."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from proxy.http.dashboard.charts import Bar
from proxy.ledger import reports
from proxy.ledger.budgets import BudgetView
from proxy.ledger.database import Database
from proxy.ledger.reports import By, SpendRow
from proxy.ledger.requests import CallView, RequestDetails, RequestFilter, recent_costs
from proxy.ledger.windows import window_end
from proxy.stats import bootstrap, forecast

RANGES = {"today": "today", "7 days": "6d", "30 days": "29d", "90 days": "89d", "all": None}
"""The choices of a page, each with its start as `proxy.ledger.time_ranges` reads it."""
DEFAULT_RANGE = "7 days"
MOST_READ = 500
"""The most requests that the interval of a saving is computed from."""
_FEWEST = {"requests": 20, "days": 7}
"""The fewest units that an interval is computed from."""
_LOCAL_STAGES = ("1", "2")
MOST_BARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What was paid beside what the large model alone would have cost, in nano-USD.

    Attributes:
        spent: the cost of all calls.
        baseline: the estimated cost of the large model alone.
        low: the low end of a 95 % interval of the share saved, or None if there are too few requests.
        high: its high end.
        units: the units that the interval was computed over, such as "30 days".
    """

    spent: int
    baseline: int
    low: float | None = None
    high: float | None = None
    units: str = ""

    @property
    def saved(self) -> int:
        """The difference. It is negative if the cascade cost more."""
        return self.baseline - self.spent

    @property
    def share(self) -> float | None:
        """The saved share of the baseline, or None without a baseline."""
        return self.saved / self.baseline if self.baseline else None


async def saving(database: Database, days: Sequence[SpendRow], wanted: RequestFilter) -> Saving:
    """Return the saving of a range, with a bootstrap interval.

    The interval is over requests if there are few, otherwise over days. A long range has too many requests to read, and
    requests of one day are alike.
    """
    total = reports.total(days)
    plain = Saving(spent=total.cost, baseline=total.baseline)
    if not total.baseline:
        return plain
    if total.requests <= MOST_READ:
        units, costs = "requests", await recent_costs(database, wanted, limit=MOST_READ)
    else:
        units, costs = "days", [(day.cost, day.baseline) for day in days]
    if len(costs) < _FEWEST[units]:
        return plain
    low, high = await asyncio.to_thread(bootstrap.interval, costs, bootstrap.ratio)
    return replace(plain, low=1 - high, high=1 - low, units=f"{len(costs)} {units}")


def answered_locally(stages: Sequence[SpendRow]) -> float | None:
    """Return the share of answered requests that stages 1 and 2 answered, or None if none was answered."""
    answered = sum(row.requests for row in stages if row.group)
    local = sum(row.requests for row in stages if row.group in _LOCAL_STAGES)
    return local / answered if answered else None


def shown_by(row: SpendRow, by: By) -> bool:
    """Return True if a group has a baseline, so that a saving can be shown."""
    return by not in ("model", "tier") and row.baseline > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget with its use. `exhausted` is when it ends at the present rate, or None if that is not in its window."""

    budget: BudgetView
    share: float
    projected: int | None
    exhausted: datetime | None


def budget_state(budget: BudgetView, now: datetime, zone: ZoneInfo) -> BudgetState:
    """Return the use of a budget, and its forecast if its window turns.

    The forecast takes the mean rate since the window began. A window that began less than an hour ago has none.
    """
    used = budget.spent + budget.unsettled
    share = (used + budget.reserved) / budget.limit if budget.limit else 1.0
    start, end = budget.window_start, _window_end(budget, zone)
    if end is None or not start <= now < end or now - start < timedelta(hours=1):
        return BudgetState(budget=budget, share=share, projected=None, exhausted=None)
    return BudgetState(
        budget=budget,
        share=share,
        projected=forecast.projected(used, start, end, now),
        exhausted=forecast.exhausted_at(used, budget.limit, start, end, now),
    )


def is_current(budget: BudgetView, now: datetime, zone: ZoneInfo) -> bool:
    """Return True unless the window of a budget has ended."""
    end = _window_end(budget, zone)
    return end is None or now < end


def _window_end(budget: BudgetView, zone: ZoneInfo) -> datetime | None:
    return window_end(budget.window, budget.window_start, zone)


@dataclass(frozen=True, slots=True)
class StageVotes:
    """The votes of a stage: each answer, shortened, with the number of samples that gave it."""

    stage: int
    votes: list[tuple[str, int]]
    without: int
    """Samples that gave no valid vote, or were not finished."""


def votes(details: RequestDetails) -> dict[int, StageVotes]:
    """Group the votes of each stage that was sampled, the largest group first."""
    found = {}
    for stage in details.stages:
        cast = [
            c
            for c in details.calls
            if c.stage == stage.stage and c.sample is not None and c.role == "executor"
        ]
        groups = Counter(c.vote for c in cast if c.vote is not None)
        found[int(stage.stage)] = StageVotes(
            int(stage.stage), groups.most_common(), sum(c.vote is None for c in cast)
        )
    return found


def bars(details: RequestDetails) -> list[Bar]:
    """Return the first calls of a request as bars on its own time."""
    calls = sorted(details.calls, key=lambda c: (c.started_at, c.id))[:MOST_BARS]
    start = details.request.started_at
    return [
        Bar(_call_label(c), max(0, int((c.started_at - start).total_seconds() * 1000)), c.latency_ms)
        for c in calls
    ]


def _call_label(call: CallView) -> str:
    sample = "" if call.sample is None else f" {call.sample}"
    return f"{call.stage} {call.tier} {call.role}{sample}"


async def spend_by(
    database: Database, by: By, zone: ZoneInfo, wanted: RequestFilter, limit: int | None = None
) -> list[SpendRow]:
    """Return the report of a group for the viewer's range and key."""
    return await reports.spend(
        database, by=by, zone=zone, since=wanted.since, until=wanted.until, key_id=wanted.key_id, limit=limit
    )
