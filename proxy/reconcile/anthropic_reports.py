"""Anthropic's reports: `/organizations/usage_report/messages`, `/organizations/cost_report` and the Console's CSV files."""

from collections.abc import Iterable, Mapping

from proxy.reconcile.figures import ReportError, count, money
from proxy.reconcile.usage import (
    ALL_MODELS,
    STANDARD,
    VendorCost,
    VendorReport,
    VendorUsage,
    cost_line,
    day_of,
)

USAGE_COLUMNS = ("usage_date_utc", "model_version", "usage_output_tokens")
COST_COLUMNS = ("usage_date_utc", "cost_usd")
_STARTS = ("starting_at", "usage_date_utc")
_INPUT = ("uncached_input_tokens", "usage_input_tokens_no_cache")
_READ = ("cache_read_input_tokens", "usage_input_tokens_cache_read")
_OUTPUT = ("output_tokens", "usage_output_tokens")
_WRITTEN = (
    "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens",
    "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_write",
)  # fmt: skip

Fields = Mapping[str, object]


def read(rows: Iterable[tuple[str, Fields]], *, comma: bool = False) -> VendorReport:
    """Read rows of both kinds: those with an amount are costs. The API has cents, the CSV has USD.

    Raises:
        ReportError: a row cannot be used.
    """
    usage: list[VendorUsage] = []
    costs: list[VendorCost] = []
    shifted = False
    for where, fields in rows:
        start = next((fields[name] for name in _STARTS if fields.get(name) not in (None, "")), None)
        day, off = day_of(start, fields.get("ending_at"), where)
        shifted |= off
        if "amount" in fields or "cost_usd" in fields:
            costs.append(_cost(day, fields, where, comma=comma))
        else:
            usage.append(_usage(day, fields, where))
    return VendorReport(usage=tuple(usage), costs=tuple(costs), shifted=shifted)


def _usage(day: str, fields: Fields, where: str) -> VendorUsage:
    model = fields.get("model") or fields.get("model_version")
    if not isinstance(model, str) or not model:
        raise ReportError(f"{where}: no model; export the usage grouped by model")
    nested = fields.get("cache_creation")
    places = [fields, nested] if isinstance(nested, Mapping) else [fields]
    read_tokens, written = _sum(places, _READ, where), _sum(places, _WRITTEN, where)
    return VendorUsage(
        day=day,
        model=model,
        tier=_tier(fields.get("service_tier") or fields.get("usage_type")),
        prompt_tokens=_sum(places, _INPUT, where) + read_tokens + written,
        cached_tokens=read_tokens,
        written_tokens=written,
        output_tokens=_sum(places, _OUTPUT, where),
    )


def _cost(day: str, fields: Fields, where: str, *, comma: bool) -> VendorCost:
    currency = str(fields.get("currency") or "USD").upper()
    if currency != "USD":
        raise ReportError(
            f"{where}: the amount is in {currency[:10]!r}; the ledger is in USD, so export in USD"
        )
    if "amount" in fields:
        found = money(fields["amount"], f"{where}, amount", cents=True, comma=comma)
    else:
        found = money(fields["cost_usd"], f"{where}, cost_usd", comma=comma)
    kind = str(fields.get("cost_type") or "token").lower()
    model = str(fields.get("model") or "").strip()
    if not kind.startswith("token"):
        return cost_line(day, str(fields.get("description") or kind)[:80], found, fee=True)
    return cost_line(
        day, model or ALL_MODELS, found, tier=_tier(fields.get("service_tier") or fields.get("usage_type"))
    )


def _sum(places: list[Fields], names: tuple[str, ...], where: str) -> int:
    return sum(count(place.get(name), f"{where}, {name}") for place in places for name in names)


def _tier(text: object) -> str:
    found = str(text or "").strip().lower()
    return STANDARD if found in ("", STANDARD, "message", "usage", "api", "none", "null") else found
