"""What every command shares: its `--config`, and a database for the time of one coroutine."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from proxy.config import Settings, config_path, load

if TYPE_CHECKING:
    from proxy.ledger.database import Database

T = TypeVar("T")
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
