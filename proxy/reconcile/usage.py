"""What a vendor says about one model and one UTC day."""

from datetime import UTC, date, datetime, timedelta

import msgspec

from proxy.reconcile.figures import Amount, ReportError

ALL_MODELS = ""
"""The model of a cost that the vendor did not divide by model."""
STANDARD = "standard"
_DAY = timedelta(days=1)


class VendorUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a usage report. `prompt_tokens` contain cached and written tokens, as in the ledger."""

    day: str
    model: str
    tier: str = STANDARD
    requests: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0


class VendorCost(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a cost report, in nano-USD. `model` is the text of the item if it names no model."""

    day: str
    model: str
    tier: str = STANDARD
    cost: int
    rounding: int
    """How far the vendor's own rounding may have moved the amount."""
    fee: bool = False
    """It is not for tokens of a model, but for a tool or storage."""


class VendorReport(msgspec.Struct, frozen=True, kw_only=True):
    """All lines of a vendor's reports. `shifted` is true if its days do not begin at midnight UTC."""

    usage: tuple[VendorUsage, ...] = ()
    costs: tuple[VendorCost, ...] = ()
    shifted: bool = False


def cost_line(day: str, model: str, amount: Amount, *, tier: str = STANDARD, fee: bool = False) -> VendorCost:
    """Return the line of an amount."""
    return VendorCost(day=day, model=model, tier=tier, cost=amount.nano, rounding=amount.rounding, fee=fee)


def day_of(start: object, end: object, where: str) -> tuple[str, bool]:
    """Return the UTC day of a bucket, and whether it is a day that does not begin at midnight UTC.

    Raises:
        ReportError: the start is neither a time nor a number of seconds since 1970.
    """
    begin = _time(start, where)
    after = _time(end, where) if end not in (None, "") else begin
    shifted = after - begin == _DAY and begin != begin.replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{begin:%Y-%m-%d}", shifted


def _time(value: object, where: str) -> datetime:
    text = str(value).strip()
    try:
        if text.isascii() and text.isdecimal() and len(text) <= 12:
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise ReportError(
            f"{where}: {text[:40]!r} is not a time such as 2026-10-31 or 1793404800; "
            "export the report again, and do not let a spreadsheet change its dates"
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def days_between(first: str, last: str) -> int:
    """Return how many days lie between two days."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days
