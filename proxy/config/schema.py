"""The settings as frozen structs.

The docstrings of sections and fields are the text of docs/configuration.md. `make docs` writes that page.
"""

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.cascade.types import Plans, TaskKind
from proxy.config.alerts import AnyAlert, Mail, Webhook
from proxy.config.money import Budgets, Exports, Ledger
from proxy.config.price_tables import PriceTable
from proxy.config.section import Positive, Seconds, Section, Share
from proxy.config.telemetry import Logs, Metrics, Tracing
from proxy.records import PromptCache, Window

BUNDLED_MODEL = "bundled"

Temperature = Annotated[float, Meta(ge=0, le=2)]


class Server(Section, frozen=True, kw_only=True):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on. Other machines can only reach the proxy if this is not a loopback address."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    """Port to listen on."""
    workers: Positive = 1
    """Number of processes. All of them share one vLLM and one database."""
    max_body_bytes: Positive = 20 * 2**20
    """Largest request body. A larger one is refused with status 413."""
    max_bodies_bytes: Positive = 128 * 2**20
    """Largest size of all request bodies in the memory of one process. One key may use as much as it leaves to others.
    Past that, large requests get status 503 with Retry-After."""
    request_timeout_s: Seconds = 600.0
    """Longest time for one request, from its arrival to the end of the answer."""
    admin_key_env: str = "COPE_ADMIN_KEY"
    """Environment variable that holds the admin key. The admin can see the spend of every key."""
    allow_anonymous: bool = False
    """Serve other machines even if no client key exists. Without it `serve` refuses to start in that case."""
    allowed_hosts: tuple[str, ...] = ()
    """While no client key exists: host names by which clients may call the proxy, beside `localhost` and IP addresses."""
    cors_origins: tuple[str, ...] = ("http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*")
    """Origins of web pages that may call the proxy from a browser. A `*` stands for a port or a part of a name.
    The origin `"*"` allows every page that sends a client's key, and no page while no key exists."""


class Database(Section, frozen=True, kw_only=True):
    """The database of the ledger."""

    url: str = "sqlite+aiosqlite:///cope.db"
    """`sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://user@host/database`."""


class Vllm(Section, frozen=True, kw_only=True):
    """Starts one vLLM and restarts it when it ends. Leave the table out to use a running server."""

    python: str | None = None
    """Python interpreter that has vLLM. Unset: that of `./.venv-vllm` if it exists, else the proxy's own."""
    args: tuple[str, ...] = ()
    """Arguments to add to vLLM's command line, for example `["--max-model-len", "8192"]`."""
    env: dict[str, str] = {}
    """Environment variables to add for vLLM."""
    startup_timeout_s: Seconds = 600.0
    """Longest time from the start of vLLM to its first answer."""
    restart: bool = True
    """Restart vLLM when it ends. The delay grows from 1 s to 60 s."""
    log_file: str = "vllm.log"
    """File that receives vLLM's output."""


class SmallPrice(Section, frozen=True, kw_only=True):
    """The price of the small model, in USD per million tokens. Zero means that local answers are free."""

    input_per_mtok: Decimal = Decimal(0)
    """USD per million prompt tokens."""
    output_per_mtok: Decimal = Decimal(0)
    """USD per million completion tokens."""


class Small(Section, frozen=True, kw_only=True):
    """The small model. Set `base_url` or add a `[small.vllm]` table."""

    model: str = BUNDLED_MODEL
    """A Hugging Face model id, a local folder or `bundled`. The bundled SmolLM2-135M is only for trying the proxy out."""
    base_url: str | tuple[str, ...] | None = None
    """URL of a running OpenAI-compatible server such as vLLM, or a list of them. Conversations are spread over the list, and
    each one stays at its server."""
    api_key_env: str | None = None
    """Environment variable that holds the key of that server. Unset: it needs no key."""
    vllm: Vllm | None = None
    on_unavailable: Literal["escalate", "wait", "fail"] = "escalate"
    """Reaction when no small server answers: ask the large model, wait for the small one, or refuse the request."""
    tools: bool = False
    """Let the small model call tools. vLLM needs `--enable-auto-tool-choice` and a tool parser for that."""
    max_output_tokens: Positive = 1024
    """Longest local answer in tokens."""
    timeout_s: Seconds = 120.0
    """Longest time for one call of the small model."""
    eval_priority: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Priority of the calls of `cope-proxy eval` for vLLM. Live requests have 0 and come first. A value above 0 needs vLLM's
    option `--scheduling-policy priority`. Without it vLLM refuses these calls."""
    price: SmallPrice = SmallPrice()

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The configured servers. Empty if vLLM is to be started."""
        if self.base_url is None:
            return ()
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url


class Upstream(Section, frozen=True, kw_only=True):
    """Another paid upstream. NAME is yours, and clients name its models as `NAME/model`."""

    base_url: str = "https://api.openai.com/v1"
    """URL of the upstream."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the upstream's key."""
    api_version: str | None = None
    """Azure OpenAI only: the API version, for example `2024-10-21`. Each deployment has to be named like its model."""
    models: tuple[str, ...] = ()
    """Further models that clients may name, including embedding models."""
    timeout_s: Seconds = 600.0
    """Longest time for a complete answer."""
    connect_timeout_s: Seconds = 10.0
    """Longest time to connect."""
    read_timeout_s: Seconds = 600.0
    """Longest time between two parts of an answer."""
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """Retries of a failed call. A call that may have been billed is never retried."""
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Name of the output limit in chat completions. Unset: OpenAI's newer models get `max_completion_tokens` and all
    others `max_tokens`. If the upstream refuses that name, it gets the other one."""
    prompt_cache: PromptCache | None = None
    """Fields of OpenAI's prompt cache that the upstream knows: `off`, `key` (`prompt_cache_key`) or `breakpoints` (also
    `prompt_cache_breakpoint` and `prompt_cache_options`). Unset: OpenAI's own API gets a key, and breakpoints from GPT-5.6
    on. All other upstreams get none of them."""
    service_tier: Literal["default", "flex", "priority"] | None = None
    """Service tier of your project at the vendor, which applies to requests that name none or `auto`. Unset: unknown, so
    reservations for such requests cover the dearest tier with a known price."""
    reported_cost: Literal["use", "ignore"] = "use"
    """Whether to book the cost of a call that the upstream reports itself, in USD. The ledger keeps both numbers."""
    breaker_failures: Positive = 5
    """Number of failures in a row after which the upstream gets no calls for a while."""
    breaker_cooldown_s: Seconds = 15.0
    """Length of that pause."""


class Large(Upstream, frozen=True, kw_only=True):
    """The default upstream and its model, which answers the requests that the small model is unsure about."""

    model: str = "gpt-4o-mini"
    """The default large model."""
    fallbacks: tuple[str, ...] = ()
    """Models to try in this order when a model is unavailable and nothing was billed. See `[upstreams.NAME]`."""
    max_output_tokens: Positive = 16384
    """Longest paid answer in tokens if the client sets no limit."""


class LargeModel(Struct, frozen=True):
    """A large model. Its `upstream` is empty for the models of `[large]`."""

    name: str
    """Its name for clients."""
    upstream: str
    id: str
    """Its name for the upstream."""


class Temperatures(Section, frozen=True, kw_only=True):
    """The sampling temperatures."""

    plan: Temperature = 0.8
    """Temperature of goals."""
    stage1: Temperature = 0.4
    """Temperature of the answers of stage 1."""
    stage2: Temperature = 0.8
    """Temperature of the answers of stage 2."""


class Certified(Section, frozen=True, kw_only=True):
    """Thresholds with a guarantee. `cope-proxy calibrate` writes this table."""

    usual: tuple[Share, Share]
    """Default thresholds of the estimator that was tested. The guarantee does not hold for any other estimator."""
    stage1: Share | Literal["never"]
    """Confidence from which stage 1 accepts."""
    stage2: Share | Literal["never"]
    """Confidence from which stage 2 accepts."""
    planner: str = ""
    """The `cascade.planner` whose guidelines were tested. Empty: those of the large model itself."""


class Thresholds(Section, frozen=True, kw_only=True):
    """Settings of one task kind. They replace the general ones."""

    stage1: Share | Literal["never"] | None = None
    """Confidence from which stage 1 accepts. Unset: the default of the estimator."""
    stage2: Share | Literal["never"] | None = None
    """Confidence from which stage 2 accepts. Unset: the default of the estimator."""
    samples: Positive | None = None
    """Answers of the small model per stage. Unset: `cascade.samples`."""
    plans: Plans | None = None
    """Plans for this kind. Unset: `cascade.plans`."""
    skip: bool | None = None
    """Send this kind straight to the large model."""
    certified: Certified | None = None


class Cascade(Section, frozen=True, kw_only=True):
    """How the small model is sampled and when its answer is accepted."""

    samples: Positive = 8
    """Answers of the small model per stage."""
    max_samples: Positive = 32
    """Highest value that `X-COPE-Samples` may ask for."""
    aliases: tuple[str, ...] = ("cope",)
    """Model names for which the cascade answers."""
    accept_at_threshold: bool = True
    """Accept a confidence that equals the threshold. Set it to false only to reproduce a strict comparison in a paper.
    A calibration requires true."""
    plans: Plans | None = None
    """Plans to write before answering: `all`, `goals` (no guideline, so no stage 2) or `none`.
    Unset: a default per task kind, which docs/evaluation.md explains."""
    planner: str | None = None
    """Large model that writes the guidelines, by its name for clients. Unset: the model that answers.
    A cheaper one may do as well. If it does not answer, or a key may not use it, stage 2 is skipped."""
    programs: bool = True
    """Ask for every second answer to mathematics as a program, if there is a sandbox. Its result votes beside the texts."""
    plan_max_tokens: Positive = 96
    """Longest goal or guideline in tokens."""
    early_stop: bool = True
    """Stop sampling as soon as further samples cannot change the decision."""
    stop_error: Annotated[float, Meta(ge=0, lt=0.5)] = 0.0
    """Also stop sampling when the decision would change with at most this probability.
    Keep 0 unless the small model limits your throughput. A value of 0.05 saved 6 to 11 % of the tokens."""
    speculate_from: Share | Literal["never"] = "never"
    """Request the guideline before stage 1 ends when the probability of an escalation is at least this value.
    Keep `never` unless latency matters more than money. Some guidelines are then paid for and not used."""
    skip_losses: bool = True
    """Skip a guideline that would probably cost more than it saves, judged by the last 200 requests of the task kind.
    One such request in 20 still gets one. Explicit settings and control headers for the kind disable this."""
    temperatures: Temperatures = Temperatures()
    calibration: str | None = None
    """File that `cope-proxy calibrate` wrote. A `[cascade.thresholds.KIND]` table replaces its table for the kind."""
    thresholds: dict[TaskKind, Thresholds] = {}
    kinds: dict[str, TaskKind] = {}
    """Fixed task kinds, by `"system=HASH"` (see `cope-proxy prompt-hash`), else `"model=ALIAS"`, else `"key=NAME"`."""


class SandboxSettings(Section, frozen=True, kw_only=True):
    """The sandbox that runs generated code to compare its behaviour."""

    enabled: bool = True
    """Run code if bubblewrap (`bwrap`) is installed and passes its self-test. Otherwise code is compared as text."""


class Audit(Section, frozen=True, kw_only=True):
    """Audits compare local answers with the large model's answers. `cope-proxy audits` reports them."""

    share: Share = 0.0
    """Share of local answers to audit."""
    budget_usd: Decimal = Decimal(1)
    """Highest spend on audits in a window, in USD."""
    window: Window = "day"
    """Window of that budget."""
    expect: Share = 0.9
    """Expected share of agreement. A lower one is logged as a warning."""


class Settings(Section, frozen=True, kw_only=True, dict=True):
    """All settings."""

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
    tracing: Tracing = Tracing()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    alerts: tuple[AnyAlert, ...] = ()
    webhooks: dict[str, Webhook] = {}
    mail: dict[str, Mail] = {}
    exports: Exports = Exports()

    @cached_property
    def large_models(self) -> dict[str, LargeModel]:
        """Every large model by its name for clients. The default comes first."""
        own = dict.fromkeys((self.large.model, *self.large.models))
        others = ((name, id_) for name, upstream in self.upstreams.items() for id_ in upstream.models)
        models = [
            *(LargeModel(id_, "", id_) for id_ in own),
            *(LargeModel(f"{name}/{id_}", name, id_) for name, id_ in others),
        ]
        return {model.name: model for model in models}

    def planner_for(self, large: LargeModel) -> LargeModel:
        """Return the model that writes the guidelines for a large model: the configured planner, or that model itself."""
        name = self.cascade.planner
        return large if name is None else self.large_models[name]
