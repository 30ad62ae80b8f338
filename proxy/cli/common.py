"""What every command shares: its `--config`, and a database for the time of one coroutine."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from proxy.config import Settings, config_path, load
from proxy.pricing.money import parse_usd

if TYPE_CHECKING:
    from proxy.ledger.database import Database

T = TypeVar("T")


class _Usd(click.ParamType[int]):
    """An amount of USD, as nano-USD."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say what is wrong with it."""
        try:
            return value if isinstance(value, int) else parse_usd(str(value))
        except ValueError as e:
            self.fail(str(e), param, ctx)


USD = _Usd()
UNFOLDED = 170


def console() -> Console:
    """Return the terminal, or for a pipe a page that is wide enough for whole numbers."""
    return Console(width=None if sys.stdout.isatty() else UNFOLDED)


config_option: Callable[[Any], Any] = click.option(
    "--config", "config", metavar="FILE", help="Config file (default: $COPE_CONFIG, else ./cope.toml)."
)


def settings_of(config: str | None) -> Settings:
    """Load the settings; where no file is named and none lies here, say how to get one.

    Raises:
        ConfigError: they cannot be used.
    """
    return load(config_path(config, os.environ), os.environ)


def pin_config(config: str | None) -> None:
    """Let processes that this one starts read the same file."""
    path = config_path(config, os.environ)
    if path is not None:
        os.environ["COPE_CONFIG"] = str(Path(path).resolve())


def with_database(settings: Settings, work: "Callable[[Database], Awaitable[T]]") -> T:
    """Bring the database up to date, run a coroutine on it and close it."""
    from proxy.ledger.database import open_database  # noqa: PLC0415
    from proxy.ledger.migrate import upgrade  # noqa: PLC0415

    async def run() -> T:
        engine = open_database(settings.database.url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    upgrade(settings.database.url)
    return asyncio.run(run())
