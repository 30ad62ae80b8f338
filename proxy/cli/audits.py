"""`cope-proxy audits`: how often local answers agree with the large model."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.table import Table

from proxy.audits.drift import weeks_of_drift
from proxy.cli.options import MOST_DAYS, config_option, console, settings_of, with_database
from proxy.config.schema import Settings
from proxy.ledger.audits import Agreement, Models, agreements, total, verdicts
from proxy.ledger.windows import window_start
from proxy.stats import shares
from proxy.vllm.launch import served_name

if TYPE_CHECKING:
    from proxy.ledger.database import Database


@click.command()
@config_option
@click.option(
    "--days", default=7, show_default=True, type=click.IntRange(1, MOST_DAYS), help="Days of audits to show."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audits(config: str | None, days: int, as_json: bool) -> None:
    """Show how often local answers agree with the large model, by task kind and stage."""
    settings = settings_of(config)
    models, zone = models_of(settings), ZoneInfo(settings.budgets.timezone)
    since = datetime.now(UTC) - timedelta(days=days)

    async def read(engine: "Database") -> tuple[list[Agreement], dict[tuple[str, int], datetime], int]:
        found = await agreements(engine, since, models)
        tested = await verdicts(engine, window_start("week", since, zone), models)
        return found, weeks_of_drift(tested, settings.audit.expect, zone), await total(engine, since)

    found, drift, count = with_database(settings, read)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        console().print(_table(found, drift, models, settings.audit.expect, zone))
    if count and not found:
        click.echo(no_audits_of_models(count, days, models), err=True)
    if not settings.audit.share and not as_json:
        click.echo("nothing is audited at present; set audit.share, for example to 0.02", err=True)


def models_of(settings: Settings) -> Models:
    """Return the configured models under their names in the audits."""
    small = settings.small
    return Models(small.model if small.vllm is None else served_name(small), settings.large.model)


def no_audits_of_models(count: int, days: int, models: Models) -> str:
    """Return the message for audits of which none compares the configured models."""
    return (
        f"none of the {count} audits of {days} days is of {models.small} and {models.large}, as configured. They "
        "compare other models or do not name them."
    )


def _table(
    found: list[Agreement],
    drift: dict[tuple[str, int], datetime],
    models: Models,
    expected: float,
    zone: ZoneInfo,
) -> Table:
    table = Table(
        "task", "stage", "accepted", "n", "audits", "agree", "95 % interval", "unclear", "no answer", "",
        title=f"{models.small} beside {models.large}",
    )  # fmt: skip
    for a in found:
        count = a.agreed + a.differed
        low, high = shares.interval([1.0] * a.agreed + [0.0] * a.differed)
        week = drift.get((a.task, a.stage)) if a.accepted else None
        table.add_row(
            a.task,
            str(a.stage),
            "yes" if a.accepted else "no",
            ", ".join(map(str, a.samples)),
            str(count),
            f"{100 * a.agreed / count:.1f} %" if count else "-",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            str(a.unclear),
            str(a.unanswered),
            f"below {100 * expected:g} % in the week of {week.astimezone(zone):%Y-%m-%d}" if week else "",
        )
    return table
