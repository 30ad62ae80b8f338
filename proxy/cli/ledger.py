"""`cope-proxy ledger`: delete old records and settle the calls of dead processes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
from rich.table import Table

from proxy.cli.options import MOST_DAYS, USD, config_option, console, settings_of, with_database
from proxy.ledger import retention
from proxy.ledger.rebuild import rebuild
from proxy.ledger.unsettled import list_unsettled, resolve
from proxy.pricing.money import format_usd


@click.group()
def ledger() -> None:
    """Maintain the ledger."""


@ledger.command("prune")
@config_option
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(0, MOST_DAYS),
    metavar="DAYS",
    help="Age in days. Default: ledger.retention_days.",
)
@click.option("--content-only", is_flag=True, help="Only delete prompts, answers and plans.")
def ledger_prune(config: str | None, days: int | None, content_only: bool) -> None:
    """Delete old requests. Reports still have their daily sums."""
    settings = settings_of(config)
    kept = settings.ledger.content_retention_days if content_only else settings.ledger.retention_days
    days = kept if days is None else days
    if days is None:
        raise click.UsageError("name --older-than DAYS or set ledger.retention_days")
    before = datetime.now(UTC) - timedelta(days=days)
    drop = retention.drop_content if content_only else retention.prune
    count = with_database(settings, lambda engine: drop(engine, before))
    deleted = "the content of " if content_only else ""
    click.echo(f"deleted {deleted}{count} requests from before {before:%Y-%m-%d %H:%M} UTC")


@ledger.command("rebuild")
@config_option
def ledger_rebuild(config: str | None) -> None:
    """Recompute the daily sums after a change of budgets.timezone."""
    settings = settings_of(config)
    zone = ZoneInfo(settings.budgets.timezone)
    count = with_database(settings, lambda engine: rebuild(engine, zone))
    click.echo(f"recomputed {count} days")


@ledger.command("unsettled")
@config_option
def ledger_unsettled(config: str | None) -> None:
    """List paid calls of processes that died. They count at their highest possible cost."""
    table = Table("call", "request", "model", "time (UTC)", "worst case USD")
    for row in with_database(settings_of(config), list_unsettled):
        when = f"{row.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(row.id, row.request_id, row.model, when, format_usd(row.amount))
    console().print(table)


@ledger.command("settle")
@config_option
@click.argument("call_id")
@click.argument("usd", type=USD)
def ledger_settle(config: str | None, call_id: str, usd: int) -> None:
    """Settle an unsettled call at its cost on the upstream's bill."""
    if not with_database(settings_of(config), lambda engine: resolve(engine, call_id, usd)):
        raise click.ClickException(f"no unsettled call {call_id}; see `cope-proxy ledger unsettled`")
    click.echo(f"{call_id}: settled at {format_usd(usd)} USD")
