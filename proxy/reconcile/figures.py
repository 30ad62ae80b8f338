"""Numbers of a vendor's report: read exactly from texts, and refused in one line."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from proxy.pricing.money import MAX_USD, NANO_PER_USD, format_usd

_LONGEST = 80
"""Characters of a number. OpenAI writes up to 45."""
MOST_COUNT = 10**15
_HALF_A_CENT = NANO_PER_USD // 200
"""The most that a vendor's rounding moves an amount. One with fewer decimals than cents is exact."""
_EXACT = Context(prec=_LONGEST + 30)


class ReportError(Exception):
    """A report that cannot be used. The message is one line that says where, why, and what to do."""


class Amount:
    """An amount of money in nano-USD, and how much of it may be due to the vendor's own rounding."""

    __slots__ = ("nano", "rounding")

    def __init__(self, nano: int, rounding: int) -> None:
        self.nano, self.rounding = nano, rounding


def count(value: object, where: str) -> int:
    """Read a number of tokens or requests. Nothing is 0.

    Raises:
        ReportError: it is no whole number in 0..10^15.
    """
    if value is None or value == "":
        return 0
    number = _decimal(value, where)
    if number != number.to_integral_value(context=_EXACT):
        raise ReportError(f"{where}: {_quoted(value)} is not a whole number; export the report again")
    if not 0 <= number <= MOST_COUNT:
        raise ReportError(f"{where}: {_quoted(value)} is out of range; check the column of the report")
    return int(number)


def money(value: object, where: str, *, cents: bool = False, comma: bool = False) -> Amount:
    """Read an amount of USD, or of cents. A credit is negative.

    Args:
        value: a decimal number, as text or from JSON.
        where: names its place in a message.
        cents: the unit is a hundredth of a USD.
        comma: a comma is the decimal point, as in a file with semicolons.

    Raises:
        ReportError: it is no decimal number, or more than 10^9 USD.
    """
    text = value.replace(",", ".") if comma and isinstance(value, str) and "." not in value else value
    usd = _decimal(text, where)
    if cents:
        usd = usd.scaleb(-2, context=_EXACT)
    if abs(usd) > MAX_USD:
        raise ReportError(
            f"{where}: {_quoted(value)} is more than {format_usd(MAX_USD * NANO_PER_USD)} USD; check the column"
        )
    exponent = usd.as_tuple().exponent
    assert isinstance(exponent, int)
    nano = usd.scaleb(9, context=_EXACT).to_integral_value(ROUND_HALF_EVEN, context=_EXACT)
    return Amount(int(nano), min(_HALF_A_CENT, 10 ** max(0, 9 + exponent) // 2 + 1))


def _decimal(value: object, where: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ReportError(f"{where}: {_quoted(value)} is not a number; export the report again")
    text = str(value).strip()
    try:
        number = _EXACT.create_decimal(text) if len(text) <= _LONGEST else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST:
        raise ReportError(
            f"{where}: {_quoted(value)} is not a plain number such as 1234.5; "
            "export the report again, without thousands separators or currency signs"
        )
    return number


def _quoted(value: object) -> str:
    return repr(value if isinstance(value, str | int | float | None) else str(value))[:40]
