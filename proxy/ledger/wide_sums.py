"""Sums that survive every row: a sum of 64-bit integers can be larger than 64 bits.

SQLite fails at such a sum, and Postgres fails when it is stored. Here sums are exact, and end at `MOST_SUM`.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, cast, func

MOST_SUM = 2**63 - 1
"""The highest sum that is stored or reported."""
_SPLIT = 2**31


def sum_parts(column: Any) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the sums of the high and of the low parts of a column. `joined` makes one number of them."""
    # The cast reads whatever SQLite has stored: it does not insist on the type of a column.
    value = func.coalesce(cast(column, BigInteger), 0)
    return func.sum(value // _SPLIT), func.sum(value % _SPLIT)


def joined(high: str | int | None, low: str | int | None) -> int:
    """Return the sum whose parts a query has returned. It is 0 without rows."""
    return min(int(high or 0) * _SPLIT + int(low or 0), MOST_SUM)


def capped_sum(column: Any) -> ColumnElement[int]:
    """Return the sum of a column for use inside the database."""
    high, low = sum_parts(column)
    total = high * _SPLIT + low
    return case((total >= MOST_SUM, MOST_SUM), else_=cast(total, BigInteger))


def capped_addition(stored: Any, added: Any) -> ColumnElement[int]:
    """Return the sum of two numbers, of which the second is not negative."""
    return case((stored > MOST_SUM - added, MOST_SUM), else_=stored + added)
