"""The settings: TOML and environment into frozen structs, every problem in one clear line.

Precedence: environment (`COPE__SECTION__KEY`), then the file, then the defaults below.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from proxy.errors import ConfigError
from proxy.pricing.money import MAX_USD
from proxy.records import Window

ENV_PREFIX = "COPE__"
BUNDLED_MODEL = "bundled"
# How `serve` tells its workers of the vLLM that it supervises.
ENGINE_URL = "COPE_ENGINE_URL"
ENGINE_MODEL = "COPE_ENGINE_MODEL"

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]


Plans = Literal["all", "goals", "none"]
Kind = Literal["math", "choice", "code", "agent", "structured", "open"]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the config."""


class Server(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    workers: Positive = 1
    max_body_bytes: Positive = 20 * 2**20
    request_timeout_s: Seconds = 600.0
    admin_key_env: str = "COPE_ADMIN_KEY"
    allow_anonymous: bool = False


class Database(Section, frozen=True):
    url: str = "sqlite+aiosqlite:///cope.db"


class Vllm(Section, frozen=True):
    python: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    startup_timeout_s: Seconds = 600.0
    restart: bool = True
    log_file: str = "vllm.log"


class SmallPrice(Section, frozen=True):
    input_per_mtok: Decimal = Decimal(0)
    output_per_mtok: Decimal = Decimal(0)


class Small(Section, frozen=True):
    model: str = BUNDLED_MODEL
    base_url: str | tuple[str, ...] | None = None
    api_key_env: str | None = None
    vllm: Vllm | None = None
    on_unavailable: Literal["escalate", "wait", "fail"] = "escalate"
    tools: bool = False
    max_output_tokens: Positive = 1024
    timeout_s: Seconds = 120.0
    price: SmallPrice = SmallPrice()

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The running servers to use, none when a vLLM is to be started."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url


class Upstream(Section, frozen=True):
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    api_version: str | None = None
    models: tuple[str, ...] = ()
    timeout_s: Seconds = 600.0
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 600.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    breaker_failures: Positive = 5
    breaker_cooldown_s: Seconds = 15.0


class Large(Upstream, frozen=True):
    model: str = "gpt-4o-mini"
    fallbacks: tuple[str, ...] = ()
    max_output_tokens: Positive = 16384


class LargeModel(Struct, frozen=True):
    """A large model as clients name it, and as its upstream does; upstream "" is [large] itself."""

    name: str
    upstream: str
    id: str


class PriceTable(Section, frozen=True):
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_input_per_mtok: Decimal | None = None


class Temperatures(Section, frozen=True):
    plan: Temperature = 0.8
    stage1: Temperature = 0.4
    stage2: Temperature = 0.8


class Certified(Section, frozen=True):
    """A pair of thresholds on the scale of the estimator that has these usual ones; `cope-proxy calibrate` writes it."""

    usual: tuple[Share, Share]
    stage1: Share | Literal["never"]
    stage2: Share | Literal["never"]


class Thresholds(Section, frozen=True):
    stage1: Share | Literal["never"] | None = None
    stage2: Share | Literal["never"] | None = None
    samples: Positive | None = None
    plans: Plans | None = None
    skip: bool | None = None
    certified: Certified | None = None


class Cascade(Section, frozen=True):
    samples: Positive = 8
    max_samples: Positive = 32
    aliases: tuple[str, ...] = ("cope",)
    accept_at_threshold: bool = True
    plans: Plans | None = None
    plan_max_tokens: Positive = 96
    early_stop: bool = True
    stop_error: Annotated[float, Meta(ge=0, lt=0.5)] = 0.0
    speculate_from: Share | Literal["never"] = "never"
    skip_losses: bool = True
    temperatures: Temperatures = Temperatures()
    calibration: str | None = None
    thresholds: dict[Kind, Thresholds] = {}


class SandboxSettings(Section, frozen=True):
    enabled: bool = True


class Audit(Section, frozen=True):
    share: Share = 0.0
    budget_usd: Decimal = Decimal(1)
    window: Window = "day"
    expect: Share = 0.9


class Limit(Section, frozen=True):
    usd: Decimal
    window: Window = "total"


class Budgets(Section, frozen=True):
    global_usd: Decimal | None = None
    window: Window = "total"
    timezone: str = "UTC"
    wait_s: Annotated[float, Meta(ge=0)] = 5.0
    keys: dict[str, Limit] = {}
    users: dict[str, Limit] = {}
    tags: dict[str, Limit] = {}


class Ledger(Section, frozen=True):
    store_content: bool = False
    retention_days: Positive | None = None
    content_retention_days: Positive | None = None
    responses_retention_hours: Annotated[int, Meta(ge=0)] = 24
    spool_dir: str = "cope.spool"
    spool_max_bytes: Positive = 256 * 2**20
    on_outage: Literal["refuse", "continue"] = "refuse"


class Settings(Section, frozen=True):
    server: Server = Server()
    database: Database = Database()
    small: Small = Small()
    large: Large = Large()
    upstreams: dict[str, Upstream] = {}
    prices: dict[str, PriceTable] = {}
    cascade: Cascade = Cascade()
    sandbox: SandboxSettings = SandboxSettings()
    audit: Audit = Audit()
    budgets: Budgets = Budgets()
    ledger: Ledger = Ledger()

    @property
    def large_models(self) -> dict[str, LargeModel]:
        """Every large model by the name that clients use: the default first, those of [upstreams] as "NAME/model"."""
        own = dict.fromkeys((self.large.model, *self.large.models))
        others = ((name, id_) for name, upstream in self.upstreams.items() for id_ in upstream.models)
        models = [
            *(LargeModel(id_, "", id_) for id_ in own),
            *(LargeModel(f"{name}/{id_}", name, id_) for name, id_ in others),
        ]
        return {model.name: model for model in models}


def config_path(given: str | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the config file to read: the given one, else `$COPE_CONFIG`, else ./cope.toml if it exists."""
    if given or env.get("COPE_CONFIG"):
        return Path(given or env["COPE_CONFIG"])
    default = Path("cope.toml")
    return default if default.exists() else None


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: with one line for every problem found.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        except OSError as e:
            raise ConfigError(
                [f"{path}: cannot be read ({e.strerror}). `cope-proxy init` writes one."]
            ) from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ConfigError([f"{path}: not valid TOML: {e}"]) from e
    problems = _overlay_env(table, env)
    calibration = (table.get("cascade") or {}).get("calibration")
    if isinstance(calibration, str):
        _apply(calibration, table["cascade"], problems)
    settings: Settings = _build(Settings, table, (), problems)
    if not problems:
        problems += _contradictions(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def with_engine(settings: Settings, env: Mapping[str, str]) -> Settings:
    """Use the vLLM that the parent process supervises, where it names one."""
    url, model = env.get(ENGINE_URL), env.get(ENGINE_MODEL)
    if not (url and model):
        return settings
    small = msgspec.structs.replace(settings.small, base_url=url, model=model, vllm=None)
    return msgspec.structs.replace(settings, small=small)


def _apply(calibration: str, cascade: dict[str, Any], problems: list[str]) -> None:
    """Add a calibration's tables for the task kinds that the config has none for.

    Whole tables: what was certified holds for its plans, its n and its thresholds together.
    """
    try:
        found = tomllib.loads(Path(calibration).read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        problems.append(
            f"cascade.calibration: {calibration} cannot be read ({e}); `cope-proxy calibrate` writes one"
        )
        return
    own = cascade.setdefault("thresholds", {})
    if isinstance(own, dict):
        cascade["thresholds"] = found | own


def overruled(settings: Settings) -> list[str]:
    """Return the task kinds of which the config's own tables say something else than its calibration."""
    cascade = settings.cascade
    if cascade.calibration is None:
        return []
    found = tomllib.loads(Path(cascade.calibration).read_text(encoding="utf-8"), parse_float=Decimal)
    tables = _build_map(dict[Kind, Thresholds], found, (), [])
    return [kind for kind, table in tables.items() if cascade.thresholds.get(kind) != table]


def _contradictions(s: Settings) -> list[str]:
    out = []
    if s.small.base_url is not None and s.small.vllm is not None:
        out.append("small: base_url and [small.vllm] exclude each other; remove one of them")
    if s.small.base_url is None and s.small.vllm is None:
        out.append(
            'small: no model server; set small.base_url = "http://127.0.0.1:8000/v1" for a running vLLM, '
            "or add a [small.vllm] table to have one started"
        )
    if s.small.base_url is not None and s.small.model == BUNDLED_MODEL:
        out.append("small.model: name the model that the server at small.base_url serves")
    # Thresholds that were certified for n samples say nothing of fewer.
    counts = {f"cascade.thresholds.{kind}": t.samples or 0 for kind, t in s.cascade.thresholds.items()}
    out += [
        f"{section}.samples: {count} is more than cascade.max_samples ({s.cascade.max_samples})"
        for section, count in {"cascade": s.cascade.samples, **counts}.items()
        if count > s.cascade.max_samples
    ]
    if s.cascade.calibration and not s.cascade.accept_at_threshold:
        out.append(
            "cascade.accept_at_threshold: what a calibration certified accepts at its thresholds; leave this true, or "
            "cascade.calibration out"
        )
    names = {"small", *s.cascade.aliases} & set(s.large_models)
    if names:
        taken = ", ".join(sorted(names))
        out.append(f"large.model: {taken!r} is also 'small' or in cascade.aliases; rename the alias")
    out += [
        f"large.fallbacks: {name!r} is none of the large models ({', '.join(s.large_models)})"
        for name in s.large.fallbacks
        if name not in s.large_models
    ]
    out += [
        f"upstreams.{name}.models: name the models that this upstream serves"
        for name, upstream in s.upstreams.items()
        if not upstream.models
    ]
    for section, url in [
        ("large.base_url", s.large.base_url),
        *((f"upstreams.{name}.base_url", u.base_url) for name, u in s.upstreams.items()),
        *(("small.base_url", u) for u in s.small.base_urls),
    ]:
        if not url.startswith(("http://", "https://")):
            out.append(f"{section}: {url!r} is no URL; it has to start with http:// or https://")
    try:
        ZoneInfo(s.budgets.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        out.append(
            f"budgets.timezone: {s.budgets.timezone!r} is no time zone; use a name such as Europe/Berlin, or UTC"
        )
    if not s.database.url.startswith(("sqlite+aiosqlite://", "postgresql+asyncpg://")):
        out.append(
            f"database.url: {s.database.url.split('://')[0]!r} is not supported; "
            "use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user@host/db"
        )
    return out


def _overlay_env(table: dict[str, Any], env: Mapping[str, str]) -> list[str]:
    problems = []
    for name, raw in sorted(env.items()):
        if not name.startswith(ENV_PREFIX):
            continue
        keys = name.removeprefix(ENV_PREFIX).split("__")
        node = table
        # The keys of a free table ([prices."gpt-4o"]) are taken as they stand, all others in lower case.
        path = _spell(keys)
        for key in path[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                problems.append(f"{name}: {key} is not a table")
                break
            node = child
        else:
            node[path[-1]] = _parse_env(raw)
    return problems


def _spell(keys: list[str]) -> list[str]:
    out: list[str] = []
    kind: Any = Settings
    for key in keys:
        if get_origin(kind) is dict:
            out.append(key)
            kind = get_args(kind)[1]
            continue
        out.append(key.lower())
        kind = _strip(get_type_hints(kind).get(key.lower(), Any)) if _is_section(kind) else Any
    return out


def _parse_env(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _strip(kind: Any) -> Any:
    """Return the section or dict type inside `X | None`, else the type itself."""
    if get_origin(kind) in (Union, UnionType):
        return next((option for option in get_args(kind) if _is_section(option)), kind)
    return kind


def _build(section: type[Any], table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    """Convert one table, key by key, so that every problem is found and not only the first."""
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: has to be a table, as in [{'.'.join(path)}]")
        return None
    hints = get_type_hints(section, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in table.items():
        here = ".".join((*path, key))
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(hints)}"
            problems.append(f"{here}: unknown key; {hint}")
            continue
        kind = _strip(hints[key])
        if _is_section(kind):
            values[key] = _build(kind, value, (*path, key), problems)
        elif get_origin(kind) is dict and _is_section(get_args(kind)[1]):
            values[key] = _build_map(kind, value, (*path, key), problems)
        else:
            try:
                values[key] = msgspec.convert(value, hints[key], strict=True, dec_hook=_decode)
                if isinstance(values[key], Decimal) and not 0 <= values[key] <= MAX_USD:
                    problems.append(f"{here}: {values[key]} is not an amount of USD in 0..{MAX_USD}")
            except msgspec.ValidationError as e:
                problems.append(f"{here}: {_plain(str(e))}")
    missing = [f.name for f in msgspec.structs.fields(section) if f.required and f.name not in table]
    problems += [f"{'.'.join((*path, name))}: missing; add it" for name in missing]
    if problems:
        return None
    return section(**values)


def _build_map(kind: Any, table: Any, path: tuple[str, ...], problems: list[str]) -> Any:
    key_type, value_type = get_args(kind)
    if not isinstance(table, dict):
        problems.append(f"{'.'.join(path)}: has to be a table of tables")
        return None
    for key in table:
        allowed = get_args(key_type)
        if allowed and key not in allowed:
            problems.append(f"{'.'.join((*path, key))}: unknown; use one of {', '.join(allowed)}")
    return {
        key: _build(value_type, value, (*path, f'"{key}"' if "." in key else key), problems)
        for key, value in table.items()
    }


def _decode(kind: type, value: Any) -> Any:
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _plain(message: str) -> str:
    return message[0].lower() + message[1:].split(" - at `", maxsplit=1)[0]
