"""Choose the route of a request: its mode and its large models."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.schema import LargeModel, Settings
from proxy.errors import ApiError, bad_request, not_found
from proxy.records import Mode

SMALL = "small"
"""The small model's name for clients."""


@dataclass(frozen=True, slots=True)
class Route:
    """The mode that runs, and the large models: the first one and its fallbacks."""

    mode: Mode
    models: tuple[LargeModel, ...]

    @property
    def large(self) -> LargeModel:
        """The first large model."""
        return self.models[0]


def default_name(settings: Settings) -> str:
    """Return the `model` of a request that has none: the cascade's first alias, or else the large model."""
    return next(iter(settings.cascade.aliases), settings.large.model)


def model_names(settings: Settings) -> list[str]:
    """Return every name that a request may give as its model."""
    large = settings.large_models
    return [*settings.cascade.aliases, *large, SMALL, *(f"direct/{name}" for name in large)]


def choose_route(
    settings: Settings,
    body: Mapping[str, Any],
    mode: Mode | None,
    allowed: Collection[str] | None = None,
) -> Route:
    """Return the route that the request's `model`, its fallbacks `models` and X-COPE-Mode ask for.

    The config's fallbacks that are not among the `allowed` models are skipped. The request's own are not.

    Raises:
        ApiError: 404 `model_not_found`, or 400 if `models` is invalid.
    """
    known, name = settings.large_models, body["model"]
    fallbacks = _requested_fallbacks(settings, body)
    configured = tuple(n for n in settings.large.fallbacks if allowed is None or n in allowed)
    default: Mode
    if name in settings.cascade.aliases or name == SMALL:
        default, first = "small" if name == SMALL else "cascade", settings.large.model
        fallbacks = fallbacks or configured
    elif name in known:
        default, first = "cascade", name
        fallbacks = fallbacks or configured
    elif (direct := name.removeprefix("direct/")) != name and direct in known:
        # `direct/<name>` means this model only, unless the request names fallbacks itself.
        default, first = "large", direct
    else:
        raise _unknown_model(settings, name, "model")
    names = dict.fromkeys((first, *fallbacks))
    return Route(mode or default, tuple(known[n] for n in names))


def _requested_fallbacks(settings: Settings, body: Mapping[str, Any]) -> tuple[str, ...]:
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
    known = ", ".join([*settings.cascade.aliases, *settings.large_models, SMALL])
    return not_found(
        f"The model {name[:100]!r} does not exist here. Use one of: {known}, or direct/<name>.",
        code="model_not_found",
        param=param,
    )
