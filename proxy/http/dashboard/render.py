"""Fill the templates, and send pages that may load nothing from elsewhere and run no script."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response

from proxy.pricing.money import NANO_PER_USD

CONTENT_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    # Not "no-referrer": browsers then send the forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


def page(template: str, values: Mapping[str, object], status: int = 200) -> Response[str]:
    """Return a page made of a template and its values."""
    text = _templates().get_template(template).render(values)
    return Response(text, status_code=status, media_type="text/html", headers=HEADERS)


def usd(nano: int | None) -> str:
    """Write an amount for people: cents from one USD on, else three digits that count."""
    if nano is None:
        return "-"
    amount = Decimal(nano) / NANO_PER_USD
    if nano == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}".replace("$-", "-$")
    digits = max(2, 2 - amount.adjusted())
    return f"${amount:,.{digits}f}".replace("$-", "-$")


def percent(share: float | None) -> str:
    """Write a share as a percentage."""
    return "-" if share is None else f"{100 * share:.1f} %"


def count(number: int | None) -> str:
    """Write a number with separators."""
    return "-" if number is None else f"{number:,}"


def seconds(ms: float | None) -> str:
    """Write milliseconds as seconds."""
    return "-" if ms is None else f"{ms / 1000:,.2f} s"


def utc(at: datetime | None) -> str:
    """Write a time."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("proxy.http.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"usd": usd, "percent": percent, "count": count, "seconds": seconds, "utc": utc}
    environment.filters.update(filters)
    return environment
