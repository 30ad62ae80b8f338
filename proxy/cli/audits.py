"""`cope-proxy audits`: how often local answers are those of the large model."""

from datetime import UTC, datetime, timedelta

import click
import msgspec
from rich.table import Table

from proxy.cascade.bounds import upper_share
from proxy.cli import main
from proxy.cli.common import config_option, console, settings_of, with_database
from proxy.ledger.audits import agreements
from proxy.service.auditor import drifted


@main.command()
@config_option
@click.option("--days", default=7, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True)
def audits(config: str | None, days: int, as_json: bool) -> None:
    """Show what audits have found, by task kind and stage."""
    settings = settings_of(config)
    since = datetime.now(UTC) - timedelta(days=days)
    found = with_database(settings, lambda engine: agreements(engine, since))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    table = Table("task", "stage", "accepted", "audits", "agree", "95 % interval", "unclear", "")
    for a in found:
        count = a.agreed + a.differed
        low, high = 1 - upper_share(a.differed, count, 0.975), upper_share(a.agreed, count, 0.975)
        verdict = (
            f"below {100 * settings.audit.expect:g} %"
            if a.accepted and drifted(a, settings.audit.expect)
            else ""
        )
        share = f"{100 * a.agreed / count:.1f} %" if count else "-"
        table.add_row(
            a.task,
            str(a.stage),
            "yes" if a.accepted else "no",
            str(count),
            share,
            f"{100 * low:.1f} to {100 * high:.1f} %",
            str(a.unclear),
            verdict,
        )
    console().print(table)
    if not settings.audit.share:
        click.echo("nothing is audited at present: set audit.share, for example 0.02", err=True)
