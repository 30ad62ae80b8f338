"""Export calls in the FOCUS 1.2 format: a row for each day, model, token class, price, key, team and chosen tags."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import NamedTuple
from zoneinfo import ZoneInfo

from proxy.config.schema import Settings
from proxy.exports.classes import parts_of
from proxy.exports.files import RowWriter, row_file
from proxy.exports.focus_rows import Group, Labels, row_of
from proxy.exports.providers import providers_of
from proxy.ledger.billed_calls import (
    Connection,
    DaySum,
    as_one_snapshot,
    billed_calls,
    days_with_calls,
    sums_of_day,
    whole_day,
)
from proxy.ledger.database import Database
from proxy.ledger.keys import list_keys
from proxy.ledger.row_sums import DaySpan
from proxy.records import UNATTRIBUTED

MOST_GROUPS = 20_000
"""Groups in memory. A day with more gets several rows for some groups, and their sums are the same."""
ROWS_AT_ONCE = 1000


class Exported(NamedTuple):
    """The size of an export: its rows, its calls and their cost in nano-USD."""

    rows: int = 0
    calls: int = 0
    cost: int = 0


class StoppedError(Exception):
    """The export was asked to stop, and no file was written."""


class _Sum:
    __slots__ = ("calls", "cost", "tokens")

    def __init__(self) -> None:
        self.tokens = self.cost = self.calls = 0


async def export_focus(
    database: Database,
    settings: Settings,
    path: Path,
    file_format: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    stop: Event | None = None,
) -> Exported:
    """Write the calls of a range into one file, whose costs add up to those of `spend --by model`.

    Days begin in the time zone of the budgets, as in all reports. Calls are read row by row. What the daily sums have
    more than the rows, because old calls were pruned, is exported as rows of the class "total" without tags and teams.

    Raises:
        UnwritableError: the format needs a package that is not installed.
        StoppedError: `stop` was set.
        OSError: the file cannot be written.
    """
    zone = ZoneInfo(settings.budgets.timezone)
    names = {key.id: key.name for key in await list_keys(database)}
    labels = Labels(settings.exports.billing_account, providers_of(settings), names)
    done = Exported()
    async with database.connect() as connection:
        await as_one_snapshot(connection)
        with row_file(path, file_format) as out:
            for span in await days_with_calls(connection, since, until, zone):
                day = _Day(span, zone, labels, frozenset(settings.exports.tags), out)
                found = await day.export(connection, stop)
                done = Exported(*(a + b for a, b in zip(done, found, strict=True)))
    return done


class _Day:
    """One day of an export. Its state is the open groups."""

    def __init__(
        self, span: DaySpan, zone: ZoneInfo, labels: Labels, tags: frozenset[str], out: RowWriter
    ) -> None:
        self._span, self._zone, self._labels, self._tags, self._out = span, zone, labels, tags, out
        self._groups: dict[Group, _Sum] = defaultdict(_Sum)
        self._of_keys: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._rows = 0

    async def export(self, connection: Connection, stop: Event | None) -> Exported:
        """Write the rows of the day."""
        async for call in billed_calls(connection, self._span):
            tags = tuple(sorted({tag for tag in call.tags if tag.partition("=")[0] in self._tags}))
            for part in parts_of(call):
                group = Group(
                    call.model, call.tier, call.key_id, call.attribution, tags, part.token_class, part.rate,
                    call.price_source,
                )  # fmt: skip
                self._add(group, part.tokens, part.cost, 1)
            totals = self._of_keys[call.key_id or "", call.model]
            totals[0] += 1
            totals[1] += call.prompt_tokens + call.completion_tokens
            totals[2] += call.cost
            if len(self._groups) >= MOST_GROUPS:
                self._flush()
            if stop is not None and stop.is_set():
                raise StoppedError
        if self._span == whole_day(self._span.day, self._zone):
            self._add_pruned(await sums_of_day(connection, self._span.day))
        self._flush()
        sums = self._of_keys.values()
        return Exported(self._rows, sum(calls for calls, _, _ in sums), sum(cost for _, _, cost in sums))

    def _add_pruned(self, stored: dict[tuple[str, str], DaySum]) -> None:
        for (key, model), day in stored.items():
            found = self._of_keys[key, model]
            calls, tokens, cost = (max(0, a - b) for a, b in zip(day, found, strict=True))
            if tokens or cost:
                self._add(
                    Group(model, None, key or None, UNATTRIBUTED, (), "total", None, None),
                    tokens,
                    cost,
                    calls,
                )
            self._of_keys[key, model] = [found[0] + calls, found[1] + tokens, found[2] + cost]

    def _add(self, group: Group, tokens: int, cost: int, calls: int) -> None:
        if not (tokens or cost):
            return  # a refused call
        into = self._groups[group]
        into.tokens += tokens
        into.cost += cost
        into.calls += calls

    def _flush(self) -> None:
        for groups in _batches(sorted(self._groups, key=repr)):
            self._out.write(
                [
                    row_of(group, found.tokens, found.cost, found.calls, self._span, self._zone, self._labels)
                    for group in groups
                    for found in (self._groups[group],)
                ]
            )
        self._rows += len(self._groups)
        self._groups.clear()


def _batches(groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
    for i in range(0, len(groups), ROWS_AT_ONCE):
        yield groups[i : i + ROWS_AT_ONCE]
