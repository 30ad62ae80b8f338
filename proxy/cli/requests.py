"""`cope-proxy requests`: list requests and show one in detail."""

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.options import config_option, console, settings_of, with_database
from proxy.ledger.requests import RequestDetails, RequestFilter, get_request, list_requests
from proxy.pricing.money import format_usd


@click.group()
def requests() -> None:
    """The requests in the ledger."""


@requests.command("list")
@config_option
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Highest number of requests."
)
@click.option("--session", metavar="ID", help="Only requests of this session.")
def requests_list(config: str | None, limit: int, session: str | None) -> None:
    """List requests, newest first."""
    rows = with_database(
        settings_of(config), lambda engine: list_requests(engine, RequestFilter(session=session), limit=limit)
    )
    table = Table()
    for name in ("id", "time (UTC)", "task", "stage", "sure", "status", "cost USD", "ms"):
        table.add_column(name, no_wrap=True)
    for r in rows:
        table.add_row(
            r.id,
            f"{r.started_at:%d %H:%M:%S}",
            r.task or "-",
            str(r.stage or "-"),
            "-" if r.confidence is None else f"{r.confidence:.2f}",
            str(r.status),
            format_usd(r.cost),
            str(r.latency_ms),
        )
    console().print(table)


@requests.command("show")
@config_option
@click.argument("request_id")
def requests_show(config: str | None, request_id: str) -> None:
    """Show one request with its stages, plans and calls."""
    details = with_database(settings_of(config), lambda engine: get_request(engine, request_id))
    if details is None:
        raise click.ClickException(f"no request {request_id}; see `cope-proxy requests list`")
    _print_request(console(), details)


def _print_request(console: Console, details: RequestDetails) -> None:
    """Print a request with its stages, plans and calls."""
    r = details.request
    when = f"  {r.started_at:%Y-%m-%d %H:%M:%S} UTC  status {r.status}"
    console.print(Text.assemble((r.id, "bold"), when), highlight=False)
    console.print(
        f"task {r.task or '-'}  mode {r.mode}  answered by {r.model or '-'} at stage {r.stage or '-'}"
        f"  {r.latency_ms} ms",
        highlight=False,
    )
    baseline = "-" if r.baseline is None else format_usd(r.baseline)
    console.print(f"cost {format_usd(r.cost)} USD  large model alone {baseline} USD", highlight=False)
    for name in (
        "reason",
        "degraded",
        "error",
        "session",
        "user",
        "team",
        "cost_center",
        "environment",
        "config",
    ):
        if getattr(r, name):
            console.print(f"{name}: {getattr(r, name)}", highlight=False)
    if r.tags:
        console.print(f"tags: {', '.join(r.tags)}", highlight=False)
    for s in details.stages:
        verdict = "accepted" if s.accepted else "escalated"
        bound = "at least " if s.drawn < s.planned else ""
        console.print(
            f"stage {s.stage}: {s.agreed} of {s.drawn} drawn agree, {s.planned} planned, confidence {bound}"
            f"{s.confidence:.2f} against {s.threshold:.2f}: {verdict}",
            highlight=False,
        )
    for p in details.plans:
        mark = "*" if p.chosen else " "
        console.print(f" {mark} {p.kind}: {p.text}", highlight=False)
    table = Table("stage", "role", "model", "sample", "vote", "in", "out", "cost USD", "ms", "end")
    for c in details.calls:
        end = (
            (c.finish_reason or "-")
            + (" (estimated)" if c.estimated else "")
            + (" (overrun)" if c.overrun else "")
        )
        table.add_row(
            str(c.stage), c.role, c.model, "-" if c.sample is None else str(c.sample), (c.vote or "-")[:24],
            str(c.prompt_tokens), str(c.completion_tokens), format_usd(c.cost), str(c.latency_ms), end,
        )  # fmt: skip
    console.print(table)
