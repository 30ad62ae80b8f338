"""What one request asks for: its body, its controls, and the route that both choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from proxy.cascade.types import TaskKind
from proxy.config.schema import LargeModel, Settings
from proxy.errors import ApiError, bad_request, not_found
from proxy.formats.base import Dialect
from proxy.ledger.keys import ApiKey
from proxy.records import Stage

Mode = Literal["cascade", "small", "large"]


MAX_TAGS = 16
"""As many as OpenAI takes."""


def clean(text: str) -> str:
    """Return a client's text as the ledger takes it: at most 256 characters, none that a database refuses."""
    return text[:256].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Controls:
    """The X-COPE-* headers of a request. Amounts are nano-USD."""

    budget: int | None = None
    session: str | None = None
    session_budget: int | None = None
    on_budget: Literal["degrade", "fail"] = "degrade"
    mode: Mode | None = None
    user: str | None = None
    max_stage: Stage = 3
    task: TaskKind | None = None
    thresholds: tuple[float, float] | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a model, checked and decoded. `size` is the body's length in bytes."""

    dialect: Dialect
    id: str
    received_at: datetime
    key: ApiKey | None
    body: Mapping[str, Any]
    size: int
    controls: Controls
    audits: TaskKind | None = None
    """The kind of the local answer that this request, the proxy's own, is to check."""

    @property
    def key_id(self) -> str | None:
        """The id of the key that asks."""
        return None if self.key is None else self.key.id

    @property
    def user(self) -> str | None:
        """The end user, as the body or else the header names it."""
        for name in ("user", "safety_identifier"):
            if isinstance(value := self.body.get(name), str) and value:
                return clean(value)
        return self.controls.user

    @property
    def tags(self) -> tuple[str, ...]:
        """The body's metadata as "key=value", each once; of an audit, what it is."""
        if self.audits is not None:
            return (f"cope-audit={self.audits}",)
        metadata = self.body.get("metadata")
        if not isinstance(metadata, Mapping):
            return ()
        pairs = (f"{clean(k)}={clean(v)}" for k, v in metadata.items() if isinstance(v, str))
        return tuple(dict.fromkeys(pairs))[:MAX_TAGS]

    @property
    def stream(self) -> bool:
        """Whether the client wants server-sent events."""
        return self.dialect.streams(self.body)


@dataclass(frozen=True, slots=True)
class Route:
    """Which mode runs, and the large models behind it: the first one, and those that stand in when it is away."""

    mode: Mode
    models: tuple[LargeModel, ...]

    @property
    def large(self) -> LargeModel:
        """The large model."""
        return self.models[0]


def route(settings: Settings, body: Mapping[str, Any], mode: Mode | None) -> Route:
    """Choose the route that a request's `model`, its fallbacks `models` and X-COPE-Mode ask for.

    Raises:
        ApiError: 404 `model_not_found`, 400 for unusable `models`.
    """
    known, name = settings.large_models, body["model"]
    fallbacks = _fallbacks(settings, body)
    if name in settings.cascade.aliases or name == "small":
        usual, first = "small" if name == "small" else "cascade", settings.large.model
        fallbacks = fallbacks or settings.large.fallbacks
    elif name in known:
        usual, first = "cascade", name
        fallbacks = fallbacks or settings.large.fallbacks
    elif (direct := name.removeprefix("direct/")) != name and direct in known:
        # Who names one model directly gets this one, unless the request itself names others.
        usual, first = "large", direct
    else:
        raise _unknown_model(settings, name, "model")
    names = dict.fromkeys((first, *fallbacks))
    return Route(mode or usual, tuple(known[n] for n in names))  # type: ignore[arg-type]


def _fallbacks(settings: Settings, body: Mapping[str, Any]) -> tuple[str, ...]:
    given = body.get("models")
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(n, str) for n in given):
        raise bad_request("'models' has to be an array of strings.", param="models", code="invalid_type")
    names = tuple(n.removeprefix("direct/") for n in given)
    for name in names:
        if name not in settings.large_models:
            raise _unknown_model(settings, name, "models")
    return names


def _unknown_model(settings: Settings, name: str, param: str) -> ApiError:
    known = ", ".join([*settings.cascade.aliases, *settings.large_models, "small"])
    return not_found(
        f"The model {name[:100]!r} does not exist here. Use one of: {known}, or direct/<name>.",
        code="model_not_found",
        param=param,
    )
