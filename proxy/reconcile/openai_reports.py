"""OpenAI's reports: `/organization/usage/completions`, `/organization/costs` and the CSV files of its dashboard.

A row of the CSV has the names of the API's fields, so both are read alike.
"""

import re
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

USAGE_COLUMNS = ("model", "input_tokens", "output_tokens")
COST_COLUMNS = ("amount_value",)
_STARTS = ("start_time", "start_time_iso", "date")
_ITEM = re.compile(r"(?:(?P<surface>[^|]+?) \| )?(?P<model>[^\s,|]+)(?: \w+)?, (?P<what>[a-z ,]+)")
"""`gpt-5.6-sol, cached input`, `priority | gpt-5.6-sol, output, long context` or `gpt-image-2 text, input`."""
_TIERS = ("priority", "flex", "batch", "scale")

Fields = Mapping[str, object]


def read(rows: Iterable[tuple[str, Fields]], *, comma: bool = False) -> VendorReport:
    """Read rows of both kinds: those with an amount are costs. Rows of empty buckets are skipped.

    Raises:
        ReportError: a row cannot be used.
    """
    usage: list[VendorUsage] = []
    costs: list[VendorCost] = []
    shifted = False
    for where, fields in rows:
        start = next((fields[name] for name in _STARTS if fields.get(name) not in (None, "")), None)
        day, off = day_of(start, fields.get("end_time"), where)
        shifted |= off
        amount = fields.get("amount") or {
            "value": fields.get("amount_value"),
            "currency": fields.get("amount_currency"),
        }
        if not isinstance(amount, Mapping):
            raise ReportError(f"{where}: the amount is no object; fetch the report again")
        if amount.get("value") not in (None, ""):
            costs.append(_cost(day, fields, amount, where, comma=comma))
        elif _used(fields):
            usage.append(_usage(day, fields, where))
    return VendorReport(usage=tuple(usage), costs=tuple(costs), shifted=shifted)


def _used(fields: Fields) -> bool:
    return any(fields.get(name) not in (None, "") for name in ("model", "input_tokens", "output_tokens"))


def _usage(day: str, fields: Fields, where: str) -> VendorUsage:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise ReportError(f"{where}: no model; export the usage grouped by model")
    batch = str(fields.get("batch")).lower() == "true"
    requests = fields.get("num_model_requests")
    return VendorUsage(
        day=day,
        model=model,
        tier="batch" if batch else _tier(fields.get("service_tier")),
        requests=None if requests in (None, "") else count(requests, f"{where}, num_model_requests"),
        prompt_tokens=count(fields.get("input_tokens"), f"{where}, input_tokens"),
        cached_tokens=count(fields.get("input_cached_tokens"), f"{where}, input_cached_tokens"),
        written_tokens=count(fields.get("input_cache_write_tokens"), f"{where}, input_cache_write_tokens"),
        output_tokens=count(fields.get("output_tokens"), f"{where}, output_tokens"),
    )


def _cost(day: str, fields: Fields, amount: Fields, where: str, *, comma: bool) -> VendorCost:
    currency = str(amount.get("currency") or "usd").lower()
    if currency != "usd":
        raise ReportError(
            f"{where}: the amount is in {currency[:10]!r}; the ledger is in USD, so export in USD"
        )
    found = money(amount["value"], f"{where}, amount", comma=comma)
    item = str(fields.get("line_item") or "").strip()
    if not item:
        return cost_line(day, ALL_MODELS, found)
    parts = _ITEM.fullmatch(item)
    surface = "" if parts is None else parts["surface"] or ""
    if parts is None or (surface and surface.lower() not in _TIERS):
        return cost_line(day, item, found, fee=True)  # tools, storage, evals: not calls of the proxy
    return cost_line(day, parts["model"], found, tier=_tier(surface))


def _tier(text: object) -> str:
    found = str(text or "").strip().lower()
    return STANDARD if found in ("", "default", "auto", STANDARD, "none", "null") else found
