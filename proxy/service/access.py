"""Which models a key may reach.

A key lists names that a request may give as its model. Headers, fallbacks and the config can add models to a request, so
the models that it may call are compared with those that the names stand for.
"""

from collections.abc import Iterable

from proxy.config.schema import LargeModel, Settings
from proxy.ledger.keys import KeyRules
from proxy.service.routing import SMALL, Route, choose_route, model_names

EVERY_STAGE = 3


def reachable(settings: Settings, rules: KeyRules | None) -> frozenset[str]:
    """Return the models that a key may reach: `small`, and large models by their names.

    The name of the cascade stands for the small model and the default large model. The name of a large model stands for
    the small model and itself, and `direct/NAME` for the large model only.
    """
    if rules is None or not rules.models:
        return frozenset((SMALL, *settings.large_models))
    known = [name for name in rules.models if name in model_names(settings)]
    return frozenset(model for name in known for model in _models_of(settings, name))


def usable_names(settings: Settings, rules: KeyRules | None) -> list[str]:
    """Return the names that a request with this key may give as its model, without further headers."""
    names = model_names(settings)
    if rules is None:
        return names
    modes = {name: choose_route(settings, {"model": name}, None).mode for name in names}
    return [
        name
        for name in names
        if (not rules.models or name in rules.models) and (not rules.modes or modes[name] in rules.modes)
    ]


def may_plan(settings: Settings, rules: KeyRules | None, planner: LargeModel) -> bool:
    """Return True if the requests of a key may get their guidelines from a planner.

    A name of the cascade includes the planner, as it includes the small model. Otherwise the key has to reach the planner.
    """
    if rules is None or any(name in settings.cascade.aliases for name in rules.models):
        return True
    return planner.name in reachable(settings, rules)


def called_models(route: Route, max_stage: int) -> Iterable[str]:
    """Return the models that a request with this route may call, up to its last stage.

    Stage 2 asks the large model for a guideline. If there is a planner that the key may not use (`may_plan`), stage 2 is
    skipped. Fallbacks and audits only call models of the route in stage 3.
    """
    if route.mode != "large":
        yield SMALL
    if route.mode == "large" or (route.mode == "cascade" and max_stage > 1):
        yield route.large.name
    if route.mode != "small" and max_stage == EVERY_STAGE:
        yield from (model.name for model in route.models)


def _models_of(settings: Settings, name: str) -> Iterable[str]:
    route = choose_route(settings, {"model": name}, None)
    if route.mode != "large":
        yield SMALL
    if route.mode != "small":
        yield route.large.name
