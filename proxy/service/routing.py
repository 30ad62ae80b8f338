"""The route of a request: its mode and its large models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.schema import LargeModel, Settings
from proxy.errors import ApiError, bad_request, not_found
from proxy.records import Mode


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
