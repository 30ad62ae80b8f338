"""`cope-proxy spend --focus`: export the spend for billing tools."""

from datetime import datetime
from pathlib import Path

import click

from proxy.cli.options import with_database
from proxy.config.schema import Settings
from proxy.exports.columns import FOCUS_VERSION
from proxy.exports.files import FORMATS, UnwritableError
from proxy.exports.focus import export_focus
from proxy.pricing.money import format_usd


def write_focus(
    settings: Settings, version: str, path: Path, since: datetime | None, until: datetime | None
) -> None:
    """Write a FOCUS file of a range, and report its size.

    Raises:
        click.UsageError: another version or another kind of file is asked for.
        click.ClickException: the file cannot be written.
    """
    if version != FOCUS_VERSION:
        raise click.UsageError(f"--focus: version {version[:20]} is not supported; use {FOCUS_VERSION}")
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise click.UsageError(f"--focus: {path} ends in neither .csv nor .parquet")
    if not path.parent.is_dir():
        raise click.UsageError(f"--focus: the folder {path.parent} does not exist")
    if path.is_dir():
        raise click.UsageError(f"--focus: {path} is a folder")
    try:
        done = with_database(
            settings, lambda engine: export_focus(engine, settings, path, suffix, since=since, until=until)
        )
    except UnwritableError as e:
        raise click.ClickException(str(e)) from e
    usd = format_usd(done.cost)
    click.echo(f"wrote {done.rows} rows of {done.calls} calls, {usd} USD, to {path}", err=True)
