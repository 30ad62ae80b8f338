"""Find settings that contradict each other."""

import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy.config.alert_checks import alert_contradictions
from proxy.config.schema import BUNDLED_MODEL, Cascade, Server, Settings, Small
from proxy.records import attribution_name


def contradictions(settings: Settings) -> list[str]:
    """Return one line for each contradiction, with its key and a remedy."""
    return [
        *_small(settings.small),
        *_cascade(settings),
        *_large(settings),
        *_prices(settings),
        *_urls(settings),
        *_names(settings.server),
        *_time_zone(settings.budgets.timezone),
        *_teams(settings),
        *_database(settings.database.url),
        *alert_contradictions(settings),
    ]


def _small(small: Small) -> Iterator[str]:
    if small.base_url is not None and small.vllm is not None:
        yield "small: base_url and [small.vllm] exclude each other; remove one of them"
    if small.base_url is None and small.vllm is None:
        yield (
            'small: no model server; set small.base_url = "http://127.0.0.1:8000/v1" for a running vLLM, '
            "or add a [small.vllm] table to have one started"
        )
    if small.base_url is not None and small.model == BUNDLED_MODEL:
        yield "small.model: name the model that the server at small.base_url serves"


def _cascade(settings: Settings) -> Iterator[str]:
    cascade = settings.cascade
    samples = {"cascade": cascade.samples} | {
        f"cascade.thresholds.{kind}": table.samples or 0 for kind, table in cascade.thresholds.items()
    }
    # Capping the samples instead would void thresholds that were certified for more.
    for section, count in samples.items():
        if count > cascade.max_samples:
            yield f"{section}.samples: {count} is more than cascade.max_samples ({cascade.max_samples})"
    if cascade.calibration and not cascade.accept_at_threshold:
        yield (
            "cascade.accept_at_threshold: a calibration accepts a confidence that equals the threshold; "
            "set this to true or remove cascade.calibration"
        )
    names = {"small", *cascade.aliases} & set(settings.large_models)
    if names:
        taken = ", ".join(sorted(names))
        yield f"large.model: {taken!r} is also 'small' or in cascade.aliases; rename the alias"
    yield from _planner(settings)
    yield from _kinds(cascade)


def _planner(settings: Settings) -> Iterator[str]:
    cascade, large = settings.cascade, settings.large.model
    planner = cascade.planner or large
    if planner not in settings.large_models:
        yield f"cascade.planner: {planner!r} is none of the large models ({', '.join(settings.large_models)})"
        return
    for kind, table in cascade.thresholds.items():
        tested = table.certified and (table.certified.planner or large)
        if table.plans == "all" and tested not in (None, planner):
            yield (
                f"cascade.planner: {kind} was calibrated with guidelines of {tested}, not of {planner}; "
                f'set this to "{tested}" or calibrate again'
            )


def _kinds(cascade: Cascade) -> Iterator[str]:
    answering = [*cascade.aliases, "small"]
    for entry in cascade.kinds:
        what, _, name = entry.partition("=")
        if what == "system" and not re.fullmatch(r"[0-9a-f]{8,64}", name):
            yield (
                f"cascade.kinds: {entry!r} has no beginning of a SHA-256; "
                "use 8 to 64 of the digits that `cope-proxy prompt-hash` prints"
            )
        elif what == "model" and name not in answering:
            yield f"cascade.kinds: {entry!r} names none of {', '.join(answering)}; the cascade answers for these only"
        elif what not in ("system", "model", "key") or not name:
            yield f'cascade.kinds: {entry!r} is no entry; use "system=HASH", "model=ALIAS" or "key=NAME"'


def _large(settings: Settings) -> Iterator[str]:
    for name in settings.large.fallbacks:
        if name not in settings.large_models:
            yield f"large.fallbacks: {name!r} is none of the large models ({', '.join(settings.large_models)})"
    for name, upstream in settings.upstreams.items():
        if not upstream.models:
            yield f"upstreams.{name}.models: name the models that this upstream serves"


def _prices(settings: Settings) -> Iterator[str]:
    for model, table in settings.prices.items():
        for tier, rates in table.tiers.items():
            key = f'prices."{model}".tiers.{tier}'
            if table.long is not None and rates.long is None:
                yield f"{key}.long: the model has prices of long prompts, so this tier needs its own"
            if tier != tier.strip().lower() or not tier:
                yield f"{key}: write the tier in small letters, as flex or priority"


def _urls(settings: Settings) -> Iterator[str]:
    for key, url in [
        ("large.base_url", settings.large.base_url),
        *((f"upstreams.{name}.base_url", upstream.base_url) for name, upstream in settings.upstreams.items()),
        *(("small.base_url", url) for url in settings.small.base_urls),
    ]:
        if not url.startswith(("http://", "https://")):
            yield f"{key}: {url!r} is not a URL; it must start with http:// or https://"


def _names(server: Server) -> Iterator[str]:
    for origin in server.cors_origins:
        scheme, mark, host = origin.partition("://")
        if origin != "*" and not (scheme and mark and host and "/" not in host):
            yield f'server.cors_origins: {origin!r} is not an origin; use "https://app.example.com" or "*"'
    for host in server.allowed_hosts:
        if not host or "/" in host or ":" in host:
            yield f'server.allowed_hosts: {host!r} is not a host name; use one such as "gpu-box", without a port'


def _time_zone(name: str) -> Iterator[str]:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"budgets.timezone: {name!r} is not a time zone; use a name such as Europe/Berlin, or UTC"


def _teams(settings: Settings) -> Iterator[str]:
    for team in settings.budgets.teams:
        if team == "*":
            continue
        try:
            name = attribution_name(team)
        except ValueError as e:
            yield f"budgets.teams: {team[:80]!r} is not the name of a team: {e}"
        else:
            if name != team:
                yield f"budgets.teams: {team[:80]!r} names no team, because names are stored as {name!r}"


def _database(url: str) -> Iterator[str]:
    # The message never has the complete URL, which may have a password.
    scheme, colon, rest = url.partition("://")
    if scheme not in ("sqlite+aiosqlite", "postgresql+asyncpg") or not colon:
        named = f"{scheme!r} is not supported" if colon else "it is not a URL"
        yield f"database.url: {named}; use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user@host/db"
    elif scheme == "sqlite+aiosqlite" and rest.split("?", maxsplit=1)[0] in ("", "/", "/:memory:"):
        yield "database.url: it names no file, and a database in memory keeps nothing; use sqlite+aiosqlite:///FILE"
