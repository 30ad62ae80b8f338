"""`cope-proxy reconcile`: compare the ledger with a vendor's usage and costs."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from proxy.cli.options import config_option, console, settings_of, with_database
from proxy.pricing.money import format_usd, parse_usd
from proxy.reconcile.compare import Comparison, Line, Tolerance
from proxy.reconcile.figures import ReportError
from proxy.reconcile.files import Provider, merged, read_file
from proxy.reconcile.month import compare_month, month_in_utc, upstreams_of, within_month
from proxy.reconcile.usage import VendorReport
from proxy.reconcile.vendor_api import BASE_URLS, KEY_NAMES, fetch_reports

DIFFERENT = 3
"""The exit code if a difference is above the tolerance."""


class _Tolerance(click.ParamType[Decimal | int]):
    """An amount of USD, as nano-USD, or a share such as "0.5%", as a decimal."""

    name = "USD|N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal | int:
        """Parse a tolerance, or fail with the reason."""
        text = str(value).strip()
        try:
            if not text.endswith("%"):
                return parse_usd(text)
            share = Decimal(text[:-1])
        except (InvalidOperation, ValueError):
            share = Decimal("NaN")
        if not (share.is_finite() and 0 <= share <= 100):
            self.fail(f"{text[:40]!r} is neither USD such as 0.01 nor a share such as 0.5%", param, ctx)
        return share / 100


@click.command()
@config_option
@click.option("--provider", type=click.Choice(sorted(BASE_URLS)), required=True, help="The vendor.")
@click.option(
    "--month", required=True, metavar="YYYY-MM", help="The month, in UTC as on the vendor's invoice."
)
@click.option("--api", is_flag=True, help="Fetch the reports from the vendor instead of reading files.")
@click.option("--base-url", metavar="URL", help="URL of the vendor's API, ending in /v1.")
@click.option(
    "--admin-key-env",
    metavar="NAME",
    help="Environment variable with an admin key. Default: OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY.",
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="NAME",
    help="An upstream on this invoice, `large` for that of [large]. Default: those whose URL is the vendor's.",
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    type=_Tolerance(),
    default=("0.01", "0.5%"),
    show_default=True,
    help="Highest difference of a day, a model and the month, in USD or per cent. Give both: the larger one counts.",
)
@click.option("--all", "show_all", is_flag=True, help="Also show days without a difference.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON. Amounts are nano-USD.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def reconcile(
    config: str | None,
    provider: Provider,
    month: str,
    api: bool,
    base_url: str | None,
    admin_key_env: str | None,
    upstreams: tuple[str, ...],
    tolerances: tuple[Decimal | int, ...],
    show_all: bool,
    as_json: bool,
    files: tuple[Path, ...],
) -> None:
    """Compare the ledger with the usage and costs that a vendor reports.

    FILES are the vendor's exports of usage, costs or both, as CSV or as saved answers of its API.
    Exit codes: 0 if all differences are within the tolerance, 1 if a report cannot be used, 2 for a mistake in the
    command or config, and 3 if a difference is larger.
    """
    if api == bool(files):
        raise click.UsageError("name the exported FILES, or --api")
    settings = settings_of(config)
    try:
        since, until = month_in_utc(month, datetime.now(UTC))
    except ValueError as e:
        raise click.UsageError(f"--month: {e}") from e
    tolerance = Tolerance(
        nano=max((t for t in tolerances if isinstance(t, int)), default=0),
        share=max((t for t in tolerances if isinstance(t, Decimal)), default=Decimal(0)),
    )
    try:
        chosen = upstreams_of(settings, provider, upstreams)
        if api:
            key = _admin_key(admin_key_env or KEY_NAMES[provider])
            found = asyncio.run(fetch_reports(provider, base_url or BASE_URLS[provider], key, since, until))
        else:
            found = merged([read_file(provider, path) for path in files])
        report: VendorReport = within_month(found, since, until, month)
    except ReportError as e:
        raise click.ClickException(str(e)) from e
    result = with_database(
        settings, lambda engine: compare_month(engine, report, chosen, settings, since, until, tolerance)
    )
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        _print(result, show_all=show_all)
    if not result.within:
        raise SystemExit(DIFFERENT)


def _admin_key(name: str) -> str:
    if key := os.environ.get(name, "").strip():
        return key
    raise click.UsageError(f"--api needs an admin key of the vendor in the environment variable {name}")


def _print(result: Comparison, *, show_all: bool) -> None:
    lines = [line for line in result.lines if show_all or not line.within]
    if lines:
        console().print(_table(lines))
    shown = "within the tolerance" if result.within else "DIFFERENT"
    many = sum(not line.within for line in result.lines)
    click.echo(
        f"{shown}: ledger {format_usd(result.ledger)} USD, vendor {format_usd(result.vendor)} USD, "
        f"difference {format_usd(result.vendor - result.ledger)} USD; {many} of {len(result.lines)} days and models differ"
    )


def _table(lines: Sequence[Line]) -> Table:
    table = Table("day (UTC)", "model")
    for name in ("ledger USD", "vendor USD", "difference", "ledger tokens", "vendor tokens"):
        table.add_column(name, justify="right")
    table.add_column("likely cause", max_width=60)
    for line in lines:
        vendor = (
            "?"
            if line.vendor is None
            else format_usd(line.vendor) + (" (priced here)" if line.priced else "")
        )
        gap = "" if line.difference is None else format_usd(line.difference)
        tokens = "" if line.vendor_tokens is None else str(line.vendor_tokens)
        causes = "\n".join(
            f"{cause.name}: {cause.text}"
            + ("" if cause.amount is None else f" ({format_usd(cause.amount)} USD)")
            for cause in line.causes
        )
        table.add_row(
            line.day,
            line.model,
            format_usd(line.ledger),
            vendor,
            gap,
            str(line.ledger_tokens),
            tokens,
            causes or "ok",
        )
    return table
