"""`cope-proxy spend`: report the spend."""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.table import Table

from proxy.cli.focus import write_focus
from proxy.cli.options import config_option, console, settings_of, with_database
from proxy.ledger import reports
from proxy.ledger.reports import GROUPS, OF_KEYS, WITH_LATENCY, SpendRow
from proxy.ledger.rollups import OF_CALLS
from proxy.ledger.time_ranges import FORMS, time_range
from proxy.ledger.unsettled import unsettled_sum
from proxy.pricing.money import NANO_PER_USD, format_usd


def spend_table(rows: Sequence[SpendRow], by: str) -> Table:
    """Return the table of a report, with a line of totals."""
    calls, timed, shared = by in OF_CALLS, by in WITH_LATENCY, by in OF_KEYS
    table = Table(title=f"Spend by {by}", caption=None if calls else reports.METHOD, caption_justify="left")
    table.add_column(by)
    names = ["calls" if calls else "requests", "errors", "prompt", "completion", "cost USD"]
    names += ["share"] if shared else []
    names += ["read", "written"]
    names += [] if calls else ["large alone USD", "saved", "escalated"]
    names += ["p50 ms", "p95 ms", "p99 ms"] if timed else []
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [str(row.requests), str(row.errors), str(row.prompt_tokens), str(row.completion_tokens)]
        cells += [format_usd(row.cost)]
        cells += [f"{row.share:.1%}" if row.share is not None else ""] if shared else []
        cells += _cache_shares(row)
        cells += [] if calls else [format_usd(row.baseline), _saved(row), _share(row.escalated, row.requests)]
        cells += [str(row.p50_ms or ""), str(row.p95_ms or ""), str(row.p99_ms or "")] if timed else []
        table.add_row(row.group or ("unattributed" if shared else "-"), *cells)
    total = reports.total(rows)
    table.add_section()
    if by == "tag":
        return table  # a request counts once for each of its tags, so a total would be too high
    cells = [str(total.requests), str(total.errors), str(total.prompt_tokens), str(total.completion_tokens)]
    cells += [format_usd(total.cost)]
    cells += [""] if shared else []
    cells += _cache_shares(total)
    cells += (
        [] if calls else [format_usd(total.baseline), _saved(total), _share(total.escalated, total.requests)]
    )
    table.add_row("all", *cells)
    return table


def _saved(row: SpendRow) -> str:
    return f"{Decimal(100 * (row.baseline - row.cost)) / row.baseline:.0f} %" if row.baseline else ""


def _cache_shares(row: SpendRow) -> tuple[str, str]:
    """Return the shares of the upstream's prompts that it read from its cache, and wrote into it."""
    return _share(row.read_tokens, row.sent_tokens), _share(row.written_tokens, row.sent_tokens)


def _share(part: int, whole: int) -> str:
    return f"{Decimal(100 * part) / whole:.0f} %" if whole else ""


@click.command()
@config_option
@click.option("--by", type=click.Choice(GROUPS), default="day", show_default=True, help="Group the requests.")
@click.option("--since", metavar="WHEN", help=f"{FORMS[0].upper()}{FORMS[1:]}.")
@click.option("--until", metavar="WHEN", help="End of the range, not included.")
@click.option("--month", metavar="YYYY-MM", help="One month.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Highest number of groups.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write a Parquet file.")
@click.option(
    "--focus",
    type=(str, click.Path(path_type=Path)),
    metavar="1.2 FILE",
    help="Write the calls in the FOCUS 1.2 format: a CSV or Parquet file, by its ending.",
)
def spend(
    config: str | None,
    by: reports.By,
    since: str | None,
    until: str | None,
    month: str | None,
    limit: int,
    as_json: bool,
    as_csv: bool,
    parquet: Path | None,
    focus: tuple[str, Path] | None,
) -> None:
    """Show the spend and the estimated cost of the large model alone."""
    settings = settings_of(config)
    zone = ZoneInfo(settings.budgets.timezone)
    try:
        first, last = time_range(since, until, month, datetime.now(UTC), zone)
    except ValueError as e:
        raise click.UsageError(str(e)) from e
    if focus is not None:
        write_focus(settings, *focus, first, last)
        return
    rows = with_database(
        settings,
        lambda engine: reports.spend(engine, by=by, zone=zone, since=first, until=last, limit=limit),
    )
    unsettled = with_database(settings, unsettled_sum)
    if parquet is not None:
        _write_parquet(rows, parquet)
        click.echo(f"wrote {len(rows)} rows to {parquet}", err=True)
    elif as_json:
        records = [{**_cells(row), "cost": row.cost, "baseline": row.baseline} for row in rows]
        click.echo(msgspec.json.encode(records).decode())
    elif as_csv:
        out = csv.DictWriter(sys.stdout, list(_cells(rows[0]) if rows else SpendRow.__struct_fields__))
        out.writeheader()
        out.writerows(_cells(row) for row in rows)
    else:
        console().print(spend_table(rows, by))
    if unsettled.count:
        click.echo(
            f"unsettled: {unsettled.count} paid calls of dead processes, {format_usd(unsettled.amount)} USD at worst, "
            "are not in these sums; see `cope-proxy ledger unsettled`",
            err=True,
        )


def _cells(row: SpendRow) -> dict[str, object]:
    """Return a row with its amounts as exact decimals in USD."""
    cells = msgspec.structs.asdict(row)
    cells["cost_usd"] = format_usd(cells.pop("cost"))
    cells["baseline_usd"] = format_usd(cells.pop("baseline"))
    return cells


def _write_parquet(rows: Sequence[SpendRow], path: Path) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise click.ClickException("Parquet needs pyarrow: pip install 'cope-proxy[parquet]'") from None
    usd, count = pa.decimal128(38, 9), pa.int64()
    schema = pa.schema(
        [("group", pa.string())]
        + [(n, count) for n in ("requests", "errors", "escalated", "prompt_tokens", "completion_tokens")]
        + [("cost_usd", usd), ("baseline_usd", usd)]
        + [(n, count) for n in ("sent_tokens", "read_tokens", "written_tokens")]
        + [(n, count) for n in ("p50_ms", "p95_ms", "p99_ms")]
    )
    amounts = [
        {**msgspec.structs.asdict(r), "cost_usd": _exact(r.cost), "baseline_usd": _exact(r.baseline)}
        for r in rows
    ]
    table = pa.Table.from_pylist([{n: a[n] for n in schema.names} for a in amounts], schema)
    pq.write_table(table, path)


def _exact(nano: int) -> Decimal:
    return Decimal(nano) / NANO_PER_USD
