"""The published rules of FOCUS 1.2 for the columns that an export has, and a check of rows against them.

The rules are those of the specification's pages `specification/columns/*.md` and `specification/attributes/*.md` at its
tag v1.2. A rule that speaks of something that a proxy has not, such as commitment discounts, is left out.
"""

import csv
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple


class Rule(NamedTuple):
    """Feature level, type, whether null is allowed, and the allowed values if they are listed."""

    level: str  # M mandatory, R recommended, C conditional
    kind: str
    nullable: bool
    allowed: frozenset[str] | None = None


def _one_of(*values):
    return frozenset(values)


RULES = {
    "BilledCost": Rule("M", "decimal", False),
    "BillingAccountId": Rule("M", "string", False),
    "BillingAccountName": Rule("M", "string", True),
    "BillingCurrency": Rule("M", "currency", False),
    "BillingPeriodEnd": Rule("M", "time", False),
    "BillingPeriodStart": Rule("M", "time", False),
    "ChargeCategory": Rule("M", "string", False, _one_of("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    "ChargeClass": Rule("M", "string", True, _one_of("Correction")),
    "ChargeDescription": Rule("M", "string", True),
    "ChargeFrequency": Rule("R", "string", False, _one_of("One-Time", "Recurring", "Usage-Based")),
    "ChargePeriodEnd": Rule("M", "time", False),
    "ChargePeriodStart": Rule("M", "time", False),
    "ConsumedQuantity": Rule("C", "decimal", True),
    "ConsumedUnit": Rule("C", "string", True),
    "ContractedCost": Rule("M", "decimal", False),
    "ContractedUnitPrice": Rule("C", "decimal", True),
    "EffectiveCost": Rule("M", "decimal", False),
    "InvoiceId": Rule("R", "string", True),
    "InvoiceIssuerName": Rule("M", "string", False),
    "ListCost": Rule("M", "decimal", False),
    "ListUnitPrice": Rule("C", "decimal", True),
    "PricingCategory": Rule("C", "string", True, _one_of("Standard", "Dynamic", "Committed", "Other")),
    "PricingQuantity": Rule("M", "decimal", True),
    "PricingUnit": Rule("M", "string", True),
    "ProviderName": Rule("M", "string", False),
    "PublisherName": Rule("M", "string", False),
    "RegionId": Rule("C", "string", True),
    "RegionName": Rule("C", "string", True),
    "ResourceId": Rule("C", "string", True),
    "ResourceName": Rule("C", "string", True),
    "ResourceType": Rule("C", "string", True),
    "ServiceCategory": Rule("M", "string", False, _one_of("AI and Machine Learning", "Analytics", "Compute", "Other")),
    "ServiceName": Rule("M", "string", False),
    "ServiceSubcategory": Rule(
        "R", "string", False,
        _one_of(
            "AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing",
            "Other (AI and Machine Learning)",
        ),
    ),
    "SkuId": Rule("C", "string", True),
    "SkuMeter": Rule("C", "string", True),
    "SkuPriceDetails": Rule("C", "keys", True),
    "SkuPriceId": Rule("C", "string", True),
    "SubAccountId": Rule("C", "string", True),
    "SubAccountName": Rule("C", "string", True),
    "SubAccountType": Rule("C", "string", True),
    "Tags": Rule("C", "keys", True),
}  # fmt: skip
MANDATORY = {name for name, rule in RULES.items() if rule.level == "M"}
NEEDED_FOR_USAGE = (
    "ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "PricingQuantity",
    "PricingUnit", "SkuId", "SkuPriceId",
)  # fmt: skip
TOGETHER = (
    ("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit"), ("SubAccountId", "SubAccountType"),
    ("ResourceId", "ResourceType"), ("SkuId", "SkuMeter"), ("SkuPriceId", "SkuPriceDetails"),
)  # fmt: skip
_NUMBER = re.compile(r"-?\d+(\.\d+)?(E-?\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def read_csv(path):
    """Return the rows of a FOCUS file as texts, with None for null."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]


def read_parquet(path):
    """Return the rows of a FOCUS file as the texts that they would have in CSV."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for field in table.schema:
        rule = RULES.get(field.name)
        wanted = {"decimal": "decimal128", "time": "timestamp[us, tz=UTC]"}.get(rule.kind if rule else "", "")
        assert str(field.type).startswith(wanted), field
        assert rule is None or field.nullable == rule.nullable, field
    return [{name: _text(value) for name, value in row.items()} for row in table.to_pylist()]


def _text(value):
    match value:
        case Decimal():
            text = f"{value:f}"
            return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def broken_rules(rows):
    """Return what is wrong with the rows of a file, in words. An empty list is a valid file."""
    return sorted({problem for row in rows for problem in _problems(row)})


def _problems(row):
    names = list(row)
    yield from (f"{name} is missing" for name in MANDATORY - set(names))
    own = [name for name in names if name.startswith("x_")]
    yield from (
        f"{name} is neither of FOCUS nor x_" for name in names if name not in RULES and name not in own
    )
    if names[len(names) - len(own) :] != own:
        yield "own columns are not last"
    for name, rule in RULES.items():
        if name in row:
            yield from _problems_of_value(name, rule, row[name])
    if row.get("ChargeCategory") == "Usage":
        yield from (f"{name} is null for usage" for name in NEEDED_FOR_USAGE if row.get(name) is None)
    for one, other in TOGETHER:
        if (row.get(one) is None) != (row.get(other) is None):
            yield f"only one of {one} and {other} is null"
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        if Decimal(row[price]) * Decimal(row["PricingQuantity"]) != Decimal(row[cost]):
            yield f"{cost} is not {price} times PricingQuantity"
        if Decimal(row[price]) < 0:
            yield f"{price} is negative"
    if not row["ChargePeriodStart"] < row["ChargePeriodEnd"]:
        yield "the charge period is empty"
    if not row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["BillingPeriodEnd"]:
        yield "the charge is outside its billing period"


def _problems_of_value(name, rule, value):
    if value is None:
        if not rule.nullable:
            yield f"{name} is null"
        return
    if rule.allowed is not None and value not in rule.allowed:
        yield f"{name} is {value}"
    if value.strip().lower() in ("", "null", "none", "not applicable"):
        yield f"{name} stands for null without being null"
    match rule.kind:
        case "decimal" if not _NUMBER.fullmatch(value):
            yield f"{name} is no number: {value}"
        case "time" if not _TIME.fullmatch(value):
            yield f"{name} is no time in UTC: {value}"
        case "currency" if not re.fullmatch(r"[A-Z]{3}", value):
            yield f"{name} is no currency: {value}"
        case "keys":
            found = json.loads(value)
            if not isinstance(found, dict) or any(isinstance(v, dict | list) for v in found.values()):
                yield f"{name} is no flat object"
