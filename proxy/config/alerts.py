"""The settings of alerts and of their targets. See `schema` for how the docstrings are used."""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from proxy.config.section import Positive, Section
from proxy.records import Scope

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Interval = Annotated[float, Meta(ge=1, le=86_400)]
Part = Annotated[float, Meta(gt=0, le=1)]


class Alert(Section, frozen=True, kw_only=True, tag_field="on"):
    """The keys of all alerts. The key `on` has the kind, by which the loader chooses the struct."""

    name: Name
    """Your name of the alert. Letters, digits, `_` and `-`."""
    targets: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Where it is sent: names of `[webhooks.NAME]` and `[mail.NAME]`."""
    every_s: Interval = 30.0
    """Seconds between two checks. One of all processes makes each check."""

    @property
    def on(self) -> str:
        """The kind of the alert."""
        return str(self.__struct_config__.tag)


class BudgetAlert(Alert, frozen=True, kw_only=True, tag="budget"):
    """A budget has been used to a fraction. Once per budget, limit, window and fraction."""

    at: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=20)] = (0.5, 0.8, 1.0)
    """Fractions of the limit. If a budget passes several at once, only the highest is sent."""
    scopes: tuple[Scope, ...] = ()
    """Only budgets of these scopes. Empty: of all."""


class ForecastAlert(Alert, frozen=True, kw_only=True, tag="forecast"):
    """A budget ends before its window does, at the mean rate since the window began. Once per budget, limit and window."""

    after: Annotated[float, Meta(ge=0.01, lt=1)] = 0.1
    """Fraction of the window that has to pass before a forecast is made."""
    scopes: tuple[Scope, ...] = ()
    """Only budgets of these scopes. Empty: of all."""


class SpikeAlert(Alert, frozen=True, kw_only=True, tag="spike"):
    """The spend of today is unusually high beside the median of the days before. Once per day."""

    every_s: Interval = 300.0
    """Seconds between two checks. One of all processes makes each check."""
    per: Literal["total", "key"] = "total"
    """Whose spend: of all requests together, or of each key."""
    factor: Annotated[float, Meta(gt=1, le=1000)] = 3.0
    """Alert if today's spend is more than this many times the median."""
    days: Annotated[int, Meta(ge=2, le=366)] = 14
    """Days before today to compare with. Days without spend do not count."""
    least_days: Positive = 3
    """Fewest days with spend. With fewer there is no alert."""
    least_usd: Decimal = Decimal(1)
    """Least difference between today and the median in USD."""


class UnsettledAlert(Alert, frozen=True, kw_only=True, tag="unsettled"):
    """Paid calls of dead processes are unsettled and hold money of budgets. Once per day."""

    least_usd: Decimal = Decimal(0)
    """Least sum of their worst cases in USD."""


class DriftAlert(Alert, frozen=True, kw_only=True, tag="drift"):
    """Audits agree less often than `audit.expect`. Once per week, task kind and stage."""

    every_s: Interval = 300.0
    """Seconds between two checks. One of all processes makes each check."""


class TierDownAlert(Alert, frozen=True, kw_only=True, tag="tier_down"):
    """No small server answers, or the breaker of an upstream is open. Once per outage.

    Each process looks at its own connections, at least every 5 seconds.
    """

    tiers: Annotated[tuple[Literal["small", "large"], ...], Meta(min_length=1)] = ("small", "large")
    """The tiers to watch. `large` means every upstream."""
    for_s: Annotated[float, Meta(ge=1)] = 60.0
    """Seconds that the tier has to be down."""


AnyAlert = BudgetAlert | ForecastAlert | SpikeAlert | UnsettledAlert | DriftAlert | TierDownAlert


class Webhook(Section, frozen=True, kw_only=True):
    """A target of alerts that takes an HTTP POST. NAME is yours. docs/alerts.md has the payload and the signature."""

    url: str | None = None
    """URL of the receiver. Set it or `url_env`."""
    url_env: str | None = None
    """Environment variable that holds the URL. Use it if the URL is secret, as Slack's is."""
    shape: Literal["json", "slack"] = "json"
    """Form of the body: a JSON object, or a message as Slack and Mattermost take it."""
    secret_env: str | None = None
    """Environment variable that holds the secret of the signature. Unset: requests are not signed."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Longest time for one attempt."""


class Mail(Section, frozen=True, kw_only=True):
    """A target of alerts that is sent by SMTP. NAME is yours."""

    host: str
    """Name of the SMTP server."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    """Port of the SMTP server."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: from a command on, from the start (usually port 465), or not at all."""
    username: str | None = None
    """Name to log in with. Unset: no login."""
    password_env: str | None = None
    """Environment variable that holds the password."""
    sender: str
    """Address of the sender."""
    to: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Addresses of the recipients."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 20.0
    """Longest time for one attempt."""
