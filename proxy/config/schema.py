"""The settings: TOML and environment into frozen structs, every problem in one clear line.

Precedence: environment (`COPE__SECTION__KEY`), then the file, then the defaults below.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.cascade.types import Plans, TaskKind
from proxy.records import Window

BUNDLED_MODEL = "bundled"

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]


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
    thresholds: dict[TaskKind, Thresholds] = {}


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
