"""`cope-proxy doctor`: check the installation."""

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import msgspec
from yarl import URL

from proxy.backends.apis import api_of
from proxy.backends.session import open_session
from proxy.backends.upstream import Upstream
from proxy.cli.options import check_spool, config_option, settings_of, with_database
from proxy.config.loading import overridden_kinds
from proxy.config.schema import Settings
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ApiError, ConfigError
from proxy.formats.lenient import decode_object, objects
from proxy.ids import now
from proxy.pricing.money import format_usd
from proxy.pricing.tokens import count_text
from proxy.sandbox import SandboxError, open_sandbox
from proxy.vllm import launch

_TIMEOUT_S = 10.0
_CACHE_DAYS = 7
_LEAST_CACHED = 10_000
"""Tokens that direct use would have read in a session. Fewer are no reason to warn."""
_READ_ENOUGH = 0.8
_NEEDS = {"prompt cache": "database"}


class _Warning(Exception):  # noqa: N818  (no error: everything works)
    """Something to look at."""


@click.command()
@config_option
def doctor(config: str | None) -> None:
    """Check every part and name a remedy for each failure."""
    settings = settings_of(config)
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("config", lambda _: "valid"),
        ("calibration", _calibration),
        ("prices", _prices),
        ("tokenizers", lambda s: f"{count_text(s.large.model, 'hello world')} tokens in 'hello world'"),
        ("database", _database),
        *([("teams", _teams)] if settings.budgets.teams else []),
        ("spool", _spool),
        ("sandbox", _sandbox),
        ("small tier", _small),
        ("upstream", _upstream),
        ("prompt cache", _prompt_cache),
        ("alerts", _alerts),
    ]
    failed: set[str] = set()
    for name, check in checks:
        if _NEEDS.get(name) in failed:
            continue  # the remedy is there already
        try:
            click.echo(f"ok    {name}: {check(settings)}")
        except _Warning as e:
            click.echo(f"warn  {name}: {e}")
        except Exception as e:  # noqa: BLE001  (every failure is a result of a check)
            failed.add(name)
            click.echo(f"FAIL  {name}: {_words(e)[:500]}")
    if failed:
        raise SystemExit(1)


def _words(error: Exception) -> str:
    match error:
        case ConfigError():
            return "; ".join(error.problems)
        case click.ClickException():
            return error.message
    return f"{type(error).__name__}: {error}"


def _calibration(settings: Settings) -> str:
    if settings.cascade.calibration is None:
        return "none"
    tables = [f"[cascade.thresholds.{kind}]" for kind in overridden_kinds(settings)]
    note = f"; replaced in part by {', '.join(tables)}" if tables else ""
    return f"{settings.cascade.calibration}{note}"


def _prices(settings: Settings) -> str:
    from proxy.config.prices import resolve_prices  # noqa: PLC0415

    return ", ".join(
        f"{m} {format_usd(p.input)}/{format_usd(p.output)} USD per million in/out ({p.source})"
        for m, p in resolve_prices(settings).items()
    )


def _database(settings: Settings) -> str:
    from proxy.ledger import migrate  # noqa: PLC0415
    from proxy.ledger.unsettled import unsettled_sum  # noqa: PLC0415

    unsettled = with_database(settings, unsettled_sum)
    note = (
        f"; {unsettled.count} paid calls of dead processes are unsettled, {format_usd(unsettled.amount)} USD at worst: "
        "see `cope-proxy ledger unsettled`"
        if unsettled.count
        else ""
    )
    return f"schema {migrate.current(settings.database.url)}{note}"


def _teams(settings: Settings) -> str:
    """Name the teams that have a budget and no key: a name that is written in two ways has no limit."""
    from proxy.ledger.keys import list_keys  # noqa: PLC0415

    budgets = {team for team in settings.budgets.teams if team != "*"}
    keys = with_database(settings, list_keys)
    missing = sorted(budgets - {key.attribution.team for key in keys if key.revoked_at is None})
    note = (
        f"; no key belongs to {', '.join(map(repr, missing))}: see `cope-proxy keys list`" if missing else ""
    )
    return f"{len(budgets)} with a budget of their own{note}"


def _spool(settings: Settings) -> str:
    from proxy.ledger.journal import REJECTED  # noqa: PLC0415

    check_spool(settings)
    rejected = Path(settings.ledger.spool_dir) / REJECTED
    if not rejected.exists():
        return f"{settings.ledger.spool_dir} can be written"
    count = rejected.read_bytes().count(b"\n")
    raise click.ClickException(
        f"ledger.spool_dir: the database has refused {count} records, which are not in any report; "
        f"read {rejected}, correct the database and delete the file"
    )


def _sandbox(settings: Settings) -> str:
    if not settings.sandbox.enabled:
        return "disabled by sandbox.enabled; code is compared as text"
    try:
        asyncio.run(open_sandbox())
    except SandboxError as e:
        return f"none; code is compared as text: {e}"
    return "passes its self-test; code is run and compared by its behaviour"


def _small(settings: Settings) -> str:
    if settings.small.vllm is not None:
        python = launch.engine_python(settings.small.vllm)
        engine = launch.probe(python)
        return f"vLLM {engine.version} ({engine.kind}) in {python}; `serve` starts it"
    key = os.environ.get(settings.small.api_key_env, "") if settings.small.api_key_env else ""
    return "; ".join(
        asyncio.run(_ask_models(UpstreamSettings(base_url=url), key or "none", settings.small.model))
        for url in settings.small.base_urls
    )


def _upstream(settings: Settings) -> str:
    from proxy.service.state import upstream_apis  # noqa: PLC0415

    apis = upstream_apis(settings)
    lines = []
    for model in settings.large_models.values():
        api = apis[model.upstream]
        # Azure lists its models but not its deployments. Only a call could check them.
        if api.settings.api_version is None:
            lines.append(asyncio.run(_ask_models(api.settings, api.key, model.id)))
    return "; ".join(lines)


def _prompt_cache(settings: Settings) -> str:
    """Compare what the sessions of the last days have read from the upstream's cache with direct use."""
    from proxy.config.prices import resolve_prices  # noqa: PLC0415
    from proxy.ledger.session_cache import session_caches  # noqa: PLC0415

    cheaper = {name for name, p in resolve_prices(settings).items() if p.cached_input_rate < p.input}
    since = now() - timedelta(days=_CACHE_DAYS)
    found = with_database(settings, lambda engine: session_caches(engine, since, cheaper))
    compared = [one for one in found if one.direct >= _LEAST_CACHED]
    short = [one for one in compared if one.read < _READ_ENOUGH * one.direct]
    if not compared:
        return "no session of the last 7 days had much to read"
    if not short:
        return f"{len(compared)} sessions of the last 7 days read what direct use of the large model would"
    worst = short[0]
    raise _Warning(
        f"{len(short)} of {len(compared)} sessions of the last 7 days read less from the upstream's cache than direct use "
        f"would: {worst.session[:60]!r} read {worst.read} of {worst.direct} tokens. Something changes the beginning of "
        "its prompts, or the upstream spreads it over servers: see prompt_cache in the config, and send X-COPE-Session"
    )


def _alerts(settings: Settings) -> str:
    from proxy.alerts.targets import target_secrets  # noqa: PLC0415

    target_secrets(settings)
    if not settings.alerts:
        return "none"
    names = ", ".join(alert.name for alert in settings.alerts)
    return f"{names}; `cope-proxy alerts test NAME` sends a test"


async def _ask_models(settings: UpstreamSettings, key: str, model: str) -> str:
    """Ask a server for its models, as the proxy itself sends a request: by the same way, and with the key masked.

    Raises:
        click.ClickException: it does not answer, refuses the key, or redirects elsewhere.
    """
    quick = msgspec.structs.replace(settings, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S)
    url = URL(settings.base_url).with_user(None)
    async with open_session(_TIMEOUT_S) as session:
        try:
            async with Upstream(session, api_of(quick, key)).send("GET", "/models", model) as response:
                raw = await response.read()
        except ApiError as e:
            raise click.ClickException(f"{url}: {e.message}") from e
    names = [card.get("id") for card in objects(decode_object(raw).get("data"))]
    return f"{url} serves {model}" if model in names else f"{url} answers, but does not list {model}"
