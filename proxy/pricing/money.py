"""Amounts of money.

Every amount in code and database is an `int` of nano-USD (10^-9 USD). Decimals appear only when a person types or
reads an amount. Floats are never used.
"""

from decimal import ROUND_FLOOR, Decimal, InvalidOperation

NANO_PER_USD = 10**9
MAX_USD = 10**9
"""The largest amount accepted from outside. It keeps every sum inside a signed 64-bit column."""


def parse_usd(text: str) -> int:
    """Read a non-negative amount of USD as nano-USD, rounding down so that a limit never grows.

    Raises:
        ValueError: the text is not a finite decimal number in 0..10^9. The message says why.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is not a decimal number") from None
    if not amount.is_finite():
        raise ValueError(f"{text[:40]!r} is not a finite number")
    if amount.is_signed() and amount != 0:
        raise ValueError(f"{text[:40]!r} is negative")
    if amount > MAX_USD:
        raise ValueError(f"{text[:40]!r} is more than {MAX_USD} USD")
    return usd_to_nano(amount)


def usd_to_nano(amount: Decimal) -> int:
    """Convert USD to nano-USD, rounding down."""
    return int(amount.scaleb(9).to_integral_value(ROUND_FLOOR))


def format_usd(nano: int) -> str:
    """Write nano-USD as USD in plain notation without trailing zeros: 1500000 -> "0.0015"."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(nano, NANO_PER_USD)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")
