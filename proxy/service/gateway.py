"""The parts that all requests of one process share, opened and closed in order."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp

from proxy.backends.large import Account, Upstream
from proxy.backends.small import SmallPool
from proxy.cascade.plan_cache import PlanBook
from proxy.config.prices import resolve_prices, small_price
from proxy.config.schema import Settings
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ConfigError
from proxy.ids import new_id, now
from proxy.ledger import audits
from proxy.ledger.database import Database, open_database
from proxy.ledger.journal import abandoned, open_journal
from proxy.ledger.kept_responses import forget
from proxy.ledger.orphans import close_lost_requests
from proxy.ledger.retention import drop_content, prune
from proxy.ledger.unsettled import bury, recover
from proxy.ledger.writer import Writer, replay
from proxy.pricing.prices import Price
from proxy.sandbox import Sandbox, SandboxError, open_sandbox
from proxy.service.audit import Audits
from proxy.service.worth import Guidelines

log = logging.getLogger(__name__)

RECOVER_EVERY_S = 5.0
PRUNE_EVERY_S = 3600.0


@dataclass(frozen=True)
class Gateway:
    """One process's share of the proxy."""

    settings: Settings
    prices: Mapping[str, Price]
    small_price: Price
    small: SmallPool
    upstreams: Mapping[str, Upstream]
    plans: PlanBook
    sandbox: Sandbox | None
    audits: Audits
    guidelines: Guidelines
    database: Database
    writer: Writer
    zone: ZoneInfo
    """Whose midnight begins a day."""
    opened: set[tuple[str | None, str | None, int | None]] = field(default_factory=set)
    """Sessions, their owners and limits that are known to stand in the database."""


def accounts(settings: Settings) -> dict[str, Account]:
    """Return how each upstream is reached, [large] as "", with its key from the environment.

    Raises:
        ConfigError: a variable is not set.
    """
    found: dict[str, Account] = {}
    problems = []
    for name, upstream in {"": settings.large, **settings.upstreams}.items():
        key = os.environ.get(upstream.api_key_env, "").strip()
        if key:
            found[name] = _account(upstream, key)
        else:
            problems.append(
                f"{f'upstreams.{name}' if name else 'large'}.api_key_env: the environment variable "
                f"{upstream.api_key_env} is not set; export the upstream's key in it"
            )
    if problems:
        raise ConfigError(problems)
    return found


def _account(upstream: UpstreamSettings, key: str) -> Account:
    return Account(
        base_url=upstream.base_url,
        api_key=key,
        api_version=upstream.api_version,
        timeout_s=upstream.timeout_s,
        connect_timeout_s=upstream.connect_timeout_s,
        read_timeout_s=upstream.read_timeout_s,
        max_retries=upstream.max_retries,
        breaker_failures=upstream.breaker_failures,
        breaker_cooldown_s=upstream.breaker_cooldown_s,
    )


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Open everything; on the way out settle, flush and close, in that order."""
    prices = resolve_prices(settings)
    reached = accounts(settings)
    small = settings.small
    database = open_database(settings.database.url)
    zone = ZoneInfo(settings.budgets.timezone)
    spool = Path(settings.ledger.spool_dir)
    journal = open_journal(spool, new_id("proc"), max_bytes=settings.ledger.spool_max_bytes)
    writer = Writer(database, journal, zone, drop_when_full=settings.ledger.on_outage == "continue")
    # Uvicorn, and so vLLM, closes idle connections after 5 s: ours are gone before, or requests would meet the closing.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.large.connect_timeout_s)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session:
            pool = SmallPool.of(session, small)
            await pool.probe()
            gateway = Gateway(
                settings=settings,
                prices=prices,
                small_price=small_price(settings),
                small=pool,
                upstreams={name: Upstream(session, account) for name, account in reached.items()},
                plans=PlanBook(),
                sandbox=await _sandbox(settings),
                audits=Audits(settings.audit.share),
                guidelines=Guidelines(),
                database=database,
                writer=writer,
                zone=zone,
            )
            background = [
                asyncio.create_task(pool.watch()),
                asyncio.create_task(_recover(gateway)),
                asyncio.create_task(_prune(gateway)),
            ]
            try:
                yield gateway
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
    finally:
        await writer.close(timeout_s=30)
        await database.dispose()


async def _sandbox(settings: Settings) -> Sandbox | None:
    """Open the sandbox if it is wanted and holds."""
    if not settings.sandbox.enabled:
        return None
    try:
        return await open_sandbox()
    except SandboxError as e:
        log.warning("no sandbox, so code is compared as text: %s", e)
        return None


async def _recover(gateway: Gateway) -> None:
    """Take over what dead processes have left: their journals, their reservations, their requests, for ever."""
    ledger = gateway.settings.ledger
    since = now() - timedelta(days=1)
    while True:
        try:
            for journal in abandoned(Path(ledger.spool_dir), max_bytes=ledger.spool_max_bytes):
                try:
                    count = await replay(gateway.database, journal, gateway.zone)
                    lost = await bury(gateway.database, journal.id)
                finally:
                    journal.close()
                log.warning("took over from %s: %d records, %d unsettled calls", journal.id, count, lost)
            await recover(gateway.database, now())
            over = now() - timedelta(seconds=gateway.settings.server.request_timeout_s)
            await close_lost_requests(gateway.database, since, over, gateway.zone)
            since = over - timedelta(minutes=10)
        except Exception as e:  # noqa: BLE001  (the database may be away; the next round tries again)
            log.warning("recovery of the ledger failed (%s: %.200s)", type(e).__name__, e)
        await asyncio.sleep(RECOVER_EVERY_S)


async def _prune(gateway: Gateway) -> None:
    """Drop what is past its retention, for ever."""
    ledger = gateway.settings.ledger
    while True:
        try:
            if ledger.content_retention_days is not None:
                await drop_content(gateway.database, now() - timedelta(days=ledger.content_retention_days))
            await forget(gateway.database, now() - timedelta(hours=ledger.responses_retention_hours))
            if ledger.retention_days is not None:
                old = now() - timedelta(days=ledger.retention_days)
                await prune(gateway.database, old)
                await audits.forget(gateway.database, old)
        except Exception as e:  # noqa: BLE001  (likewise)
            log.warning("pruning of the ledger failed (%s: %.200s)", type(e).__name__, e)
        await asyncio.sleep(PRUNE_EVERY_S)
