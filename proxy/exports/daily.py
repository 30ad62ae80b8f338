"""Daily export files in a folder: each past day with calls has one, complete and up to date.

The folder itself is the state, so nothing is lost by an outage or a crash. Beside `focus-2026-10-31.csv` stands
`focus-2026-10-31.json` with the number of calls and their cost. A day is written if its file is missing, or if the ledger
has other sums by now, because a process brought in its records after an outage. A lock in the folder lets one process
work at a time, so a second one finds the files of the first.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from zoneinfo import ZoneInfo

import msgspec

from proxy.config.schema import Settings
from proxy.exports.columns import COLUMNS, FOCUS_VERSION
from proxy.exports.files import replaced
from proxy.exports.focus import Exported, export_focus
from proxy.ledger.billed_calls import sums_by_day, whole_day
from proxy.ledger.database import Database, open_database
from proxy.ledger.rollups import local_day

log = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(minutes=5)
"""How long after its last call may end a day is exported. Records are in the database within seconds."""


Sums = tuple[int, int]
"""The calls of a day and their cost in nano-USD, from the daily sums."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a daily file. `cost_nano_usd` is the sum of its `BilledCost`.

    `ledger_calls` and `ledger_cost_nano_usd` are the daily sums that it was made for. The file has the same, unless the
    time zone of the budgets was changed without `cope-proxy ledger rebuild`.
    """

    focus_version: str
    file: str
    day: str
    timezone: str
    rows: int
    calls: int
    cost_nano_usd: int
    ledger_calls: int
    ledger_cost_nano_usd: int
    columns: tuple[str, ...]


def export_days(settings: Settings, now: datetime, stop: Event) -> list[Path]:
    """Write the daily files that are due, and return them. It takes its own connections, so it can run in a thread.

    Return nothing if another process is at work in the folder.

    Raises:
        UnwritableError: the format needs a package that is not installed.
        StoppedError: `stop` was set.
        OSError: the folder cannot be written.
    """
    assert settings.exports.folder is not None
    folder = Path(settings.exports.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) as alone:
        if not alone:
            return []
        for leftover in folder.glob(".focus-*.part"):
            leftover.unlink(missing_ok=True)  # of a process that died: the lock is ours
        return asyncio.run(_export_days(settings, folder, now, stop))


async def _export_days(settings: Settings, folder: Path, now: datetime, stop: Event) -> list[Path]:
    database = open_database(settings.database.url)
    try:
        days = await _due(database, settings, folder, now)
        return [await _export(database, settings, folder, day, sums, stop) for day, sums in days]
    finally:
        await database.dispose()


async def _due(database: Database, settings: Settings, folder: Path, now: datetime) -> list[tuple[str, Sums]]:
    zone = ZoneInfo(settings.budgets.timezone)
    over = now - timedelta(seconds=settings.server.request_timeout_s) - SETTLED_AFTER
    last = local_day(over - timedelta(days=1), zone)
    first = local_day(over - timedelta(days=settings.exports.days), zone)
    async with database.connect() as connection:
        await connection.execution_options(readonly=True)
        sums = await sums_by_day(connection, first, last)
    return [(day, found) for day, found in sums.items() if _written(_file(folder, day, settings)) != found]


def _written(file: Path) -> Sums | None:
    """Return the sums that a file was made for, or `None` if it has to be written."""
    if not file.exists():
        return None
    try:
        manifest = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return (manifest.ledger_calls, manifest.ledger_cost_nano_usd) if manifest.file == file.name else None


async def _export(
    database: Database, settings: Settings, folder: Path, day: str, sums: Sums, stop: Event
) -> Path:
    zone = ZoneInfo(settings.budgets.timezone)
    span = whole_day(day, zone)
    file = _file(folder, day, settings)
    done: Exported = await export_focus(
        database, settings, file, settings.exports.format, since=span.low, until=span.high, stop=stop
    )
    manifest = Manifest(
        focus_version=FOCUS_VERSION,
        file=file.name,
        day=day,
        timezone=settings.budgets.timezone,
        rows=done.rows,
        calls=done.calls,
        cost_nano_usd=done.cost,
        ledger_calls=sums[0],
        ledger_cost_nano_usd=sums[1],
        columns=tuple(column.name for column in COLUMNS),
    )
    with replaced(file.with_suffix(".json")) as temporary:
        temporary.write_bytes(msgspec.json.encode(manifest))
    log.info("exported %s: %d calls in %d rows", file, done.calls, done.rows)
    return file


def _file(folder: Path, day: str, settings: Settings) -> Path:
    return folder / f"focus-{day}.{settings.exports.format}"


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Lock a folder while the block runs. Yield False if another process has it. The lock ends with its process."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
