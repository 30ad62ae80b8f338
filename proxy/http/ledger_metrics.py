"""The metrics that are read from the ledger: totals, budgets and unsettled calls.

The totals are those of the whole ledger (`proxy.ledger.counters`), so every proxy of one database reports the same ones,
and a process that dies takes no counts along.

A total may never seem to fall, because Prometheus takes that for a restart and counts everything again. So two scrapes
that reach different workers must not see older totals after newer ones: figures are cached for a moment only, and while
the database is away there are none instead of old ones.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from proxy.ids import now
from proxy.ledger.budgets import used_amounts
from proxy.ledger.counters import Total, read_totals
from proxy.ledger.database import DatabaseError
from proxy.ledger.keys import list_keys
from proxy.ledger.unsettled import UnsettledSum, unsettled_sum
from proxy.pricing.money import NANO_PER_USD
from proxy.records import BudgetRef
from proxy.service.state import AppState
from proxy.spending.scopes import named_budgets

FRESH_S = 1.0
"""How long figures are served again, so that many scrapers cost the database no more than one."""
PATIENCE_S = 2.0
"""How long a scrape waits for the database. Prometheus itself gives up after 10 s."""
MOST_KEYS = 200
"""How many keys have a budget series of their own: the oldest active ones."""

_REQUEST = ("kind", "mode", "stage", "tier", "model", "outcome")
_CALL = ("kind", "stage", "role", "tier", "model", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the ledger says at one moment."""

    totals: list[Total]
    unsettled: UnsettledSum
    used: list[tuple[BudgetRef, int]]
    """Budgets, and the nano-USD that count against them."""


class LedgerFigures:
    """Reads the figures. Its state is the last ones, and the reading under way."""

    def __init__(self, app: AppState) -> None:
        self._app = app
        self._last: tuple[float, Figures] | None = None
        self._began = 0.0
        self._reading: asyncio.Task[Figures] | None = None

    async def now(self) -> Figures | None:
        """Return the figures, or None if the database does not answer in time.

        At most one reading is under way. One that takes too long goes on, but its result is not used.
        """
        if self._last is not None and time.monotonic() - self._last[0] < FRESH_S:
            return self._last[1]
        if self._reading is None or self._reading.done():
            self._began = time.monotonic()
            self._reading = asyncio.create_task(self._read())
        began, reading = self._began, self._reading
        await asyncio.wait({reading}, timeout=began + PATIENCE_S - time.monotonic())
        if not reading.done():
            return None
        try:
            figures = reading.result()
        except (OSError, DatabaseError):
            return None
        if time.monotonic() - began > PATIENCE_S:
            return None
        self._last = began, figures
        return figures

    async def _read(self) -> Figures:
        app = self._app
        at = now()
        keys = [key for key in await list_keys(app.database) if key.active(at)]
        refs = named_budgets(app.settings, keys[:MOST_KEYS], app.zone, at)
        used = await used_amounts(app.database, list(refs.values()))
        named = [
            (BudgetRef(scope=r.scope, name=name, limit=r.limit, window=r.window, window_start=r.window_start), amount)
            for (_, name), r, amount in zip(refs, refs.values(), used, strict=True)
        ]  # fmt: skip
        return Figures(
            totals=await read_totals(app.database), unsettled=await unsettled_sum(app.database), used=named
        )


def families(figures: Figures | None) -> Iterator[Metric]:
    """Yield the metrics of the figures. Without figures, only that the database does not answer."""
    up = float(figures is not None)
    yield GaugeMetricFamily("cope_database_up", "1 if the database answers", value=up)
    if figures is None:
        return
    yield from _requests([t for t in figures.totals if t.subject == "request"])
    yield from _calls([t for t in figures.totals if t.subject == "call"])
    stages = CounterMetricFamily(
        "cope_stage",
        "Samples that were drawn, and stages that accepted an answer or escalated",
        labels=("kind", "stage", "event"),
    )
    for t in figures.totals:
        if t.subject == "stage":
            stages.add_metric((t.kind, t.stage, t.outcome), t.count)
    yield stages
    count, amount = figures.unsettled.count, figures.unsettled.amount / NANO_PER_USD
    yield GaugeMetricFamily(
        "cope_unsettled_calls", "Paid calls whose process died, kept at their worst case", value=count
    )
    yield GaugeMetricFamily("cope_unsettled_usd", "Their worst cases in all, in USD", value=amount)
    budgets = GaugeMetricFamily(
        "cope_budget_used_ratio",
        "The part of a budget that is spent, reserved or unsettled, in its present window",
        labels=("scope", "name", "window"),
    )
    for ref, used in figures.used:
        budgets.add_metric((ref.scope, ref.name, ref.window), used / ref.limit if ref.limit else 1.0)
    yield budgets


def _requests(totals: Iterable[Total]) -> Iterator[Metric]:
    requests = CounterMetricFamily("cope_requests", "Requests in the ledger", labels=_REQUEST)
    baseline = CounterMetricFamily(
        "cope_baseline_usd",
        "Estimated cost in USD if the large model had answered each request",
        labels=_REQUEST,
    )
    for t in totals:
        labels = t.kind, t.mode, t.stage, t.tier, t.model, t.outcome
        requests.add_metric(labels, t.count)
        baseline.add_metric(labels, t.baseline_nano / NANO_PER_USD)
    yield requests
    yield baseline


def _calls(totals: Iterable[Total]) -> Iterator[Metric]:
    calls = CounterMetricFamily("cope_calls", "Model calls in the ledger", labels=_CALL)
    cost = CounterMetricFamily("cope_cost_usd", "Cost of model calls in USD", labels=_CALL)
    tokens = CounterMetricFamily(
        "cope_tokens", "Prompt and completion tokens of model calls", labels=(*_CALL, "type")
    )
    cached = CounterMetricFamily(
        "cope_cached_tokens", "Prompt tokens that the upstream had in its cache", labels=_CALL
    )
    written = CounterMetricFamily(
        "cope_cache_write_tokens", "Prompt tokens that the upstream wrote into its cache", labels=_CALL
    )
    reasoning = CounterMetricFamily(
        "cope_reasoning_tokens", "Completion tokens of hidden reasoning", labels=_CALL
    )
    for t in totals:
        labels = t.kind, t.stage, t.role, t.tier, t.model, t.outcome
        calls.add_metric(labels, t.count)
        cost.add_metric(labels, t.cost_nano / NANO_PER_USD)
        tokens.add_metric((*labels, "prompt"), t.prompt_tokens)
        tokens.add_metric((*labels, "completion"), t.completion_tokens)
        cached.add_metric(labels, t.cached_tokens)
        written.add_metric(labels, t.cache_write_tokens)
        reasoning.add_metric(labels, t.reasoning_tokens)
    yield from (calls, cost, tokens, cached, written, reasoning)
