"""Amounts in answers: nano-USD as numbers, and USD as text beside them."""

from typing import Any

import msgspec

from proxy.pricing.money import format_usd

AMOUNTS = (
    "cost",
    "baseline",
    "limit",
    "spent",
    "reserved",
    "unsettled",
    "amount",
    "reported_cost",
    "computed_cost",
)


def usd_fields(struct: Any) -> Any:
    """Return a struct as JSON values, with `cost_usd` beside every `cost`, and likewise for the other amounts."""
    return _add_usd(msgspec.to_builtins(struct))


def _add_usd(value: Any) -> Any:
    if isinstance(value, list):
        return [_add_usd(v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: _add_usd(v) for k, v in value.items()}
    for name in AMOUNTS:
        if isinstance(value.get(name), int):
            out[f"{name}_usd"] = format_usd(value[name])
    return out
