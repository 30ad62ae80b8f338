"""Options and helpers that the commands share."""

import asyncio
import math
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from proxy.config.loading import ENGINE_KEY, ENGINE_MODEL, ENGINE_URL, config_path, load, with_engine
from proxy.config.schema import Settings, Small, Vllm
from proxy.pricing.money import parse_usd
from proxy.records import attribution_name

if TYPE_CHECKING:
    from proxy.ledger.database import Database
    from proxy.vllm.launch import EngineProcess

T = TypeVar("T")


class _Usd(click.ParamType[int]):
    """An amount of USD, as nano-USD."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse an amount, or fail with the reason."""
        try:
            return value if isinstance(value, int) else parse_usd(str(value))
        except ValueError as e:
            self.fail(str(e), param, ctx)


class _AttributionName(click.ParamType[str]):
    """The name of a team, a cost center or an environment. An empty text stands for none."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a name, or fail with the reason."""
        try:
            return attribution_name(str(value)) if value else ""
        except ValueError as e:
            self.fail(f"{e}.", param, ctx)


class FiniteRange(click.FloatRange):
    """A number in a range. "nan" is in none, though it is not below one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a number, or fail with the reason."""
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value} is not a number.", param, ctx)
        return found


USD = _Usd()
ATTRIBUTION_NAME = _AttributionName()
MOST_DAYS = 36_500
PIPE_WIDTH = 170
_CONTROLS = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)
"""Characters that move the cursor, change the order of a line or cannot be seen."""


class _PlainConsole(Console):
    """A console that shows a text as it is: other people's texts are no markup, and control no terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text for the screen."""
        visible = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        return super().render_str(visible, **{**options, "markup": False, "emoji": False})


def console() -> Console:
    """Return a console. In a pipe it is wide enough for complete numbers."""
    return _PlainConsole(width=None if sys.stdout.isatty() else PIPE_WIDTH)


config_option: Callable[[Any], Any] = click.option(
    "--config", "config", metavar="FILE", help="Config file (default: $COPE_CONFIG, else ./cope.toml)."
)


def settings_of(config: str | None) -> Settings:
    """Load the settings.

    Raises:
        ConfigError: the settings cannot be used.
    """
    return load(config_path(config, os.environ), os.environ)


def pin_config(config: str | None) -> None:
    """Let the processes that this one starts read the same config."""
    path = config_path(config, os.environ)
    if path is not None:
        os.environ["COPE_CONFIG"] = str(Path(path).resolve())


def with_database(settings: Settings, work: "Callable[[Database], Awaitable[T]]") -> T:
    """Upgrade the schema of the database, run a coroutine on it and close it."""
    from proxy.ledger.database import open_database  # noqa: PLC0415
    from proxy.ledger.migrate import upgrade  # noqa: PLC0415

    async def run() -> T:
        engine = open_database(settings.database.url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    with database_errors(settings.database.url):
        upgrade(settings.database.url)
        return asyncio.run(run())


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Report a database that cannot be used in one line.

    Raises:
        click.ClickException: the database cannot be used.
    """
    from proxy.ledger.problems import database_problem  # noqa: PLC0415

    try:
        yield
    except Exception as e:
        if (problem := database_problem(e, url)) is None:
            raise
        raise click.ClickException(f"database.url: the database cannot be used: {problem}") from e


def check_spool(settings: Settings) -> None:
    """Check that the journals of the ledger can be written.

    Raises:
        ConfigError: they cannot.
    """
    from proxy.service.state import start_journal  # noqa: PLC0415

    start_journal(settings).close()


def secret_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the variables that vLLM must not inherit."""
    upstreams = (u.api_key_env for u in (settings.large, *settings.upstreams.values()))
    webhooks = (
        name for webhook in settings.webhooks.values() for name in (webhook.url_env, webhook.secret_env)
    )
    mail = (mail.password_env for mail in settings.mail.values())
    own = (settings.server.admin_key_env, settings.metrics.key_env, settings.small.api_key_env)
    names = (*upstreams, *webhooks, *mail, *own)
    return tuple(name for name in names if name)


def check_writable(out: Path) -> None:
    """Check before a long command that its output file can be written. Do not change the file.

    Raises:
        click.ClickException: the file cannot be written.
    """
    try:
        if out.exists():
            out.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as e:
        raise click.ClickException(f"--out: {out} cannot be written ({e.strerror})") from e


def say(line: str) -> None:
    """Report a step of vLLM's start."""
    click.echo(f"vllm: {line}", err=True)


@contextmanager
def started(
    small: Small, *, aliases: Sequence[str] = (), secrets: Sequence[str] = ()
) -> "Iterator[EngineProcess]":
    """Start vLLM, wait until it answers and stop it at the end. The arguments are those of `launch.start`.

    Raises:
        click.ClickException: vLLM does not start. The message has the reason.
    """
    from proxy.vllm import launch  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            engine = stack.enter_context(launch.start(small, aliases=aliases, secrets=secrets, progress=say))
            engine.wait_ready(say, (small.vllm or Vllm()).startup_timeout_s)
        except launch.EngineError as e:
            raise click.ClickException(str(e)) from e
        yield engine


def engine_variables(engine: "EngineProcess") -> dict[str, str]:
    """Return the environment variables by which `with_engine` finds a running vLLM."""
    return {ENGINE_URL: engine.base_url, ENGINE_MODEL: engine.model, ENGINE_KEY: engine.api_key}


@contextmanager
def small_tier(settings: Settings) -> Iterator[Settings]:
    """Run vLLM during a command if the settings require it. Yield settings that use it."""
    if settings.small.vllm is None:
        yield settings
        return
    with started(settings.small, secrets=secret_names(settings)) as engine:
        os.environ[ENGINE_KEY] = engine.api_key
        yield with_engine(settings, engine_variables(engine))
