"""The parts that all requests of one process share."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp

from proxy.backends.apis import Api, api_of
from proxy.backends.session import open_session
from proxy.backends.small_pool import SmallPool
from proxy.backends.upstream import Upstream
from proxy.cascade.detection import load_weights
from proxy.cascade.plan_cache import PlanCache
from proxy.concurrency import reap
from proxy.config.prices import PriceBook, small_price
from proxy.config.schema import Settings
from proxy.errors import ConfigError
from proxy.fairness import FairShare, FairThreads
from proxy.ids import new_id
from proxy.ledger.database import Database, open_database
from proxy.ledger.journal import Journal, open_journal
from proxy.ledger.writer import Writer
from proxy.pricing.prices import Price
from proxy.pricing.tokens import load_encodings
from proxy.records import PromptCache
from proxy.sandbox import Sandbox, SandboxError, open_sandbox
from proxy.service.audit_queue import AuditQueue
from proxy.service.guideline_records import GuidelineRecords
from proxy.service.hooks import Hook, default_hooks
from proxy.service.traces import open_tracer
from proxy.service.under_way import RequestsUnderWay
from proxy.tracing.trace import Tracer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AppState:
    """The parts of one process that its requests share. A new config makes another one, and requests keep theirs."""

    settings: Settings
    config: str
    """The digest of the config."""
    prices: Mapping[str, Price]
    small_price: Price
    small: SmallPool
    upstreams: Mapping[str, Upstream]
    session: aiohttp.ClientSession
    """The connections to all servers."""
    plans: PlanCache
    sandbox: Sandbox | None
    audits: AuditQueue
    guidelines: GuidelineRecords
    hooks: tuple[Hook, ...]
    """Called in order with each finished request."""
    database: Database
    writer: Writer
    zone: ZoneInfo
    """The time zone of budget windows."""
    bodies: FairShare
    """The bytes of the request bodies in memory."""
    prompt_cache_refused: dict[str, PromptCache] = field(default_factory=dict)
    """The most fields that a large model still gets after it has refused some."""
    under_way: RequestsUnderWay = field(default_factory=RequestsUnderWay)
    opened: set[tuple[str | None, str | None, int | None]] = field(default_factory=set)
    """Sessions with their owners and limits that are already in the database."""
    tracer: Tracer | None = None
    """None if tracing is off."""
    watches: list[asyncio.Task[None]] = field(default_factory=list)
    """The tasks that probe the small tier. The last one is that of `small`."""


def upstream_apis(settings: Settings) -> dict[str, Api]:
    """Return each upstream's API with its key from the environment. [large] has the name "".

    Raises:
        ConfigError: the environment variable of a key is not set.
    """
    found: dict[str, Api] = {}
    problems = []
    for name, upstream in {"": settings.large, **settings.upstreams}.items():
        key = os.environ.get(upstream.api_key_env, "").strip()
        if key:
            found[name] = api_of(upstream, key)
        else:
            problems.append(
                f"{f'upstreams.{name}' if name else 'large'}.api_key_env: the environment variable "
                f"{upstream.api_key_env} is not set; export the upstream's key in it"
            )
    if problems:
        raise ConfigError(problems)
    return found


def start_journal(settings: Settings) -> Journal:
    """Start the journal of this process.

    Raises:
        ConfigError: `ledger.spool_dir` cannot be written.
    """
    ledger = settings.ledger
    try:
        return open_journal(Path(ledger.spool_dir), new_id("proc"), max_bytes=ledger.spool_max_bytes)
    except OSError as e:
        problem = (
            f"ledger.spool_dir: {ledger.spool_dir} cannot be written ({e.strerror or e}); "
            "name a folder on a local disk that cope-proxy may write"
        )
        raise ConfigError([problem]) from e


@asynccontextmanager
async def open_state(settings: Settings, config: str) -> AsyncIterator[AppState]:
    """Open all parts. On exit, write the rest of the ledger and close them. `config` is the digest of the config."""
    cores = os.cpu_count() or 1
    threads = FairThreads(min(32, cores + 4), "worker", each=max(2, cores // 2))
    asyncio.get_running_loop().set_default_executor(threads)
    prices = PriceBook(settings)
    apis = upstream_apis(settings)
    # What the first request would otherwise wait for.
    await _load_encodings(settings)
    await asyncio.to_thread(load_weights)
    database = open_database(settings.database.url)
    zone = ZoneInfo(settings.budgets.timezone)
    journal = start_journal(settings)
    writer = Writer(database, journal, zone, drop_when_full=settings.ledger.on_outage == "continue")
    try:
        async with (
            open_tracer(settings) as tracer,
            open_session(settings.large.connect_timeout_s) as session,
        ):
            pool = SmallPool.of(session, settings.small)
            await pool.probe()
            guidelines, audits = GuidelineRecords(), AuditQueue()
            state = AppState(
                settings=settings,
                config=config,
                prices=prices,
                small_price=small_price(settings),
                small=pool,
                upstreams={name: Upstream(session, api) for name, api in apis.items()},
                session=session,
                plans=PlanCache(),
                sandbox=await _open_sandbox(settings),
                audits=audits,
                guidelines=guidelines,
                hooks=default_hooks(settings, writer, guidelines, audits),
                database=database,
                writer=writer,
                zone=zone,
                bodies=FairShare(settings.server.max_bodies_bytes),
                tracer=tracer,
            )
            state.watches.append(asyncio.create_task(pool.watch()))
            try:
                yield state
            finally:
                await reap(*state.watches)
    finally:
        await writer.close(timeout_s=30)
        await database.dispose()


async def changed_state(old: AppState, settings: Settings, config: str) -> AppState:
    """Return the state for a new config. All parts that are not concerned are the old ones, with all that they know.

    Requests under way keep the old state, so the servers of its small tier are probed until the last of them has ended.

    Raises:
        ConfigError: the settings cannot be used. Nothing has changed then.
    """
    prices, apis = PriceBook(settings), upstream_apis(settings)
    await _load_encodings(settings)
    before = old.settings
    same = _same_upstreams(before, settings)
    sandbox = old.sandbox
    if settings.sandbox != before.sandbox:
        sandbox = await _open_sandbox(settings)
    pool = old.small
    if settings.small != before.small:
        pool = SmallPool.of(old.session, settings.small)
        await pool.probe()
        over = before.server.request_timeout_s
        asyncio.get_running_loop().call_later(over, old.watches[-1].cancel)
        old.watches[:] = [watch for watch in old.watches if not watch.done()]
        old.watches.append(asyncio.create_task(pool.watch()))
    return replace(
        old,
        settings=settings,
        config=config,
        prices=prices,
        small_price=small_price(settings),
        small=pool,
        upstreams={
            n: old.upstreams[n] if n in same else Upstream(old.session, api) for n, api in apis.items()
        },
        sandbox=sandbox,
        hooks=default_hooks(settings, old.writer, old.guidelines, old.audits),
        prompt_cache_refused=old.prompt_cache_refused if same == apis.keys() else {},
    )


def _same_upstreams(old: Settings, new: Settings) -> set[str]:
    """Return the names of the upstreams whose tables have not changed. [large] has the name ""."""
    before = {"": old.large, **old.upstreams}
    return {name for name, table in {"": new.large, **new.upstreams}.items() if before.get(name) == table}


async def _load_encodings(settings: Settings) -> None:
    """Load the tokenizers of the large models."""
    await asyncio.to_thread(load_encodings, [model.id for model in settings.large_models.values()])


async def _open_sandbox(settings: Settings) -> Sandbox | None:
    """Return the sandbox if it is enabled and works here."""
    if not settings.sandbox.enabled:
        return None
    try:
        return await open_sandbox()
    except SandboxError as e:
        log.warning("no sandbox, so code is compared as text: %s", e)
        return None
