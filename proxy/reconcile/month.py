"""The parts of one month that belong together: the vendor's report, and the ledger's calls of that vendor."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from proxy.config.schema import Settings
from proxy.exports.providers import provider_at
from proxy.ledger.calls_by_utc_day import CallsOfDay, calls_by_utc_day
from proxy.ledger.database import Database
from proxy.ledger.time_ranges import month
from proxy.ledger.unsettled import UnsettledView, list_unsettled
from proxy.reconcile.compare import Comparison, Tolerance, compare
from proxy.reconcile.figures import ReportError
from proxy.reconcile.files import Provider
from proxy.reconcile.usage import VendorReport

DEFAULT_UPSTREAM = "large"
"""How a person names the upstream of `[large]`, which has no name in the config."""
_NAMES = {"openai": "OpenAI", "anthropic": "Anthropic"}


def month_in_utc(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Return the days of a month to compare, as midnights in UTC. A month that is not over ends before today.

    Raises:
        ValueError: it is no month, or has no complete day yet.
    """
    first, after = month(text, ZoneInfo("UTC"))
    until = min(after, now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    if until <= first:
        raise ValueError(f"{text} has no complete day in UTC yet")
    return first, until


def upstreams_of(settings: Settings, provider: Provider, chosen: tuple[str, ...]) -> set[str]:
    """Return the upstreams whose calls are on the vendor's invoice. That of `[large]` is "".

    Raises:
        ReportError: a chosen one does not exist, or none is at the vendor.
    """
    urls = {"": settings.large.base_url} | {name: u.base_url for name, u in settings.upstreams.items()}
    if chosen:
        names = {"" if name == DEFAULT_UPSTREAM and name not in urls else name for name in chosen}
        if unknown := sorted(names - urls.keys()):
            known = ", ".join(sorted(name or DEFAULT_UPSTREAM for name in urls))
            raise ReportError(f"--upstream: {unknown[0][:40]!r} is not in the config; use {known}")
        return names
    found = {name for name, url in urls.items() if provider_at(url) == _NAMES[provider]}
    if not found:
        raise ReportError(
            f"no upstream of the config is at {_NAMES[provider]}; name those that its invoice has with --upstream"
        )
    return found


def within_month(report: VendorReport, since: datetime, until: datetime, text: str) -> VendorReport:
    """Return the lines of a month.

    Raises:
        ReportError: the report has lines, but none of the month.
    """
    first, last = f"{since:%Y-%m-%d}", f"{until - timedelta(days=1):%Y-%m-%d}"
    days = sorted({line.day for line in report.usage} | {line.day for line in report.costs})
    if days and (days[-1] < first or days[0] > last):
        raise ReportError(
            f"the report has no day of {text}, but {days[0]} to {days[-1]}; check --month and the dates of the export"
        )
    return replace(
        report,
        usage=tuple(line for line in report.usage if first <= line.day <= last),
        costs=tuple(line for line in report.costs if first <= line.day <= last),
    )


async def compare_month(
    database: Database,
    report: VendorReport,
    upstreams: set[str],
    settings: Settings,
    since: datetime,
    until: datetime,
    tolerance: Tolerance,
) -> Comparison:
    """Compare a report with the ledger's calls of some upstreams. Models lose the name of their upstream."""
    calls: list[CallsOfDay] = []
    for call in await calls_by_utc_day(database, since, until):
        upstream, model = _parts(call.model, settings)
        if upstream in upstreams:
            calls.append(replace(call, model=model))
    unsettled: list[UnsettledView] = []
    for found in await list_unsettled(database):
        upstream, model = _parts(found.model, settings)
        if upstream in upstreams and since <= found.created_at < until:
            unsettled.append(replace(found, model=model))
    return compare(report, calls, unsettled, tolerance)


def _parts(name: str, settings: Settings) -> tuple[str, str]:
    upstream, slash, model = name.partition("/")
    return (upstream, model) if slash and upstream in settings.upstreams else ("", name)
