"""One row of a FOCUS export: what a group of calls used of one token class, and what it cost."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import asdict

from proxy.exports.classes import TokenClass
from proxy.exports.providers import Providers
from proxy.ledger.row_sums import DaySpan
from proxy.records import Attribution

Row = dict[str, str | Decimal | datetime | None]

METERS: dict[TokenClass, str] = {
    "input": "Input Tokens",
    "cached_input": "Cached Input Tokens",
    "cache_write": "Cache Write Tokens",
    "cache_write_1h": "Cache Write Tokens For An Hour",
    "audio_input": "Audio Input Tokens",
    "image_input": "Image Input Tokens",
    "output": "Output Tokens",
    "reasoning": "Reasoning Tokens",
    "audio_output": "Audio Output Tokens",
    "image_output": "Image Output Tokens",
    "request": "Requests",
    "total": "All Tokens",
}
_ALWAYS: Row = {
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeFrequency": "Usage-Based",
    "InvoiceId": None,
    "PricingCategory": "Standard",
    "RegionId": None,
    "RegionName": None,
    "ResourceType": "Model",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceSubcategory": "Generative AI",
}
_NANO, _RATE = 9, 15
"""Decimals of an amount in nano-USD, and of a rate in nano-USD per million tokens for one token."""


class Group(NamedTuple):
    """What the calls of one row have in common. `tags` are `key=value`."""

    model: str
    tier: str | None
    key_id: str | None
    attribution: Attribution
    tags: tuple[str, ...]
    token_class: TokenClass
    rate: int | None
    price_source: str | None


class Labels(NamedTuple):
    """The names that rows carry beside their figures."""

    billing_account: str
    providers: Providers
    key_names: Mapping[str, str]


def row_of(
    group: Group, tokens: int, cost: int, calls: int, span: DaySpan, zone: ZoneInfo, labels: Labels
) -> Row:
    """Return the row of a group.

    `BilledCost` and `EffectiveCost` are what the ledger has booked. `ListCost` and `ContractedCost` are quantity times
    price, as FOCUS asks for. They differ by less than a nano-USD a call, because each call is rounded up. A row of the
    class "total" has no price of a token, so its quantity is its cost, at a price of 1 USD for 1 USD.
    """
    billed = exact(cost, _NANO)
    details: dict[str, str] = {}
    if group.rate is None:
        quantity, unit, price, product = billed, "USD", Decimal(1), billed
        rate_name = "usd"
    elif group.token_class == "request":  # noqa: S105  (a class, no password)
        quantity, unit, price = Decimal(tokens), "Requests", exact(group.rate, _NANO)
        product, rate_name = exact(tokens * group.rate, _NANO), str(group.rate)
    else:
        quantity, unit, price = Decimal(tokens), "Tokens", exact(group.rate, _RATE)
        product, rate_name = exact(tokens * group.rate, _RATE), str(group.rate)
        details["x_UsdPerMillionTokens"] = plain(exact(group.rate, _NANO))
    if group.price_source is not None:
        details["x_PriceSource"] = group.price_source
    provider = labels.providers.of(group.model, group.tier)
    meter = METERS[group.token_class]
    month_start, month_end = _billing_period(span.day, zone)
    sku = f"{group.model}/{group.token_class}"
    return _ALWAYS | {
        "BilledCost": billed,
        "BillingAccountId": labels.billing_account,
        "BillingAccountName": labels.billing_account,
        "BillingPeriodEnd": month_end,
        "BillingPeriodStart": month_start,
        "ChargeDescription": f"{meter} of {group.model}",
        "ChargePeriodEnd": span.high,
        "ChargePeriodStart": span.low,
        "ConsumedQuantity": Decimal(tokens),
        "ConsumedUnit": "Tokens" if unit == "USD" else unit,
        "ContractedCost": product,
        "ContractedUnitPrice": price,
        "EffectiveCost": billed,
        "InvoiceIssuerName": provider,
        "ListCost": product,
        "ListUnitPrice": price,
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": group.model,
        "ResourceName": group.model,
        "ServiceName": "Local Model" if group.tier == "small" else "Model API",
        "SkuId": sku,
        "SkuMeter": meter,
        "SkuPriceDetails": _json(details),
        "SkuPriceId": f"{sku}/{rate_name}",
        "SubAccountId": group.key_id,
        "SubAccountName": None if group.key_id is None else labels.key_names.get(group.key_id),
        "SubAccountType": None if group.key_id is None else "API Key",
        "Tags": _json(_tags(group)),
        "x_Calls": Decimal(calls),
        "x_CostCenter": group.attribution.cost_center,
        "x_Environment": group.attribution.environment,
        "x_Team": group.attribution.team,
        "x_Tier": group.tier,
        "x_TokenClass": group.token_class,
    }


def _tags(group: Group) -> dict[str, str]:
    """Return the tags of a row. The attribution of its key wins over what a client calls its own team."""
    of_clients = dict(tag.partition("=")[::2] for tag in group.tags)
    return of_clients | {
        name: value for name, value in asdict(group.attribution).items() if value is not None
    }


def exact(amount: int, decimals: int) -> Decimal:
    """Return an integer amount with some decimals. Nothing is rounded, whatever the size."""
    return Decimal(f"{amount}E-{decimals}")


def plain(amount: Decimal) -> str:
    """Write a number without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _billing_period(day: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    year, month = int(day[:4]), int(day[5:7])
    first = datetime(year, month, 1, tzinfo=zone)
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    return first.astimezone(UTC), after.astimezone(UTC)


def _json(details: Mapping[str, str]) -> str:
    return msgspec.json.encode(details, order="sorted").decode()
