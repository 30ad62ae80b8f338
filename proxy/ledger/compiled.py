"""Statements that are compiled once for each database, for the rows that every request writes.

SQLAlchemy prepares each value of each row anew. For the few statements of the writer, that took most of its time. The
statements are still made from the tables, so the schema stays in one place. Values have to be storable already, as
those of records from the journal are (`proxy.records.storable`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Dialect, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.tables import Base, Text

Growth = Callable[[Any, Any], Any]
"""Returns the new value of a column as an expression of the stored and the added value."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    values: Callable[[Mapping[str, object]], tuple[object, ...]]
    """Returns the values of a row, and the constants of the statement, in the order of the placeholders."""
    conversions: tuple[tuple[int, Callable[[Any], Any]], ...]
    """The places of values that the driver takes in another form."""
    constants: Mapping[str, object]

    def parameters(self, row: Mapping[str, object]) -> Sequence[object]:
        if self.constants:
            row = {**self.constants, **row}
        if not self.conversions:
            return self.values(row)
        values = list(self.values(row))
        for place, convert in self.conversions:
            values[place] = convert(values[place])
        return tuple(values)


async def insert_rows(
    connection: AsyncConnection, table: type[Base], rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert new rows, which all have the same columns."""
    if rows:
        await _execute(connection, _insertion(table, connection.dialect, tuple(rows[0])), rows)


async def add_to_rows(
    connection: AsyncConnection,
    table: type[Base],
    rows: Sequence[Mapping[str, object]],
    sums: tuple[str, ...],
    growth: Growth,
) -> None:
    """Insert rows, or let the columns `sums` of those that exist grow.

    The rows have to come in the order of their primary keys, so that writers never wait for each other in a circle.
    """
    if rows:
        await _execute(connection, _addition(table, connection.dialect, sums, growth), rows)


async def _execute(
    connection: AsyncConnection, compiled: _Compiled, rows: Sequence[Mapping[str, object]]
) -> None:
    await connection.exec_driver_sql(compiled.sql, [compiled.parameters(row) for row in rows])


@cache
def _insertion(table: Any, dialect: Dialect, names: tuple[str, ...]) -> _Compiled:
    return _compiled(insert(table), dialect, list(names))


@cache
def _addition(table: Any, dialect: Dialect, sums: tuple[str, ...], growth: Growth) -> _Compiled:
    statement = (postgresql if dialect.name == "postgresql" else sqlite).insert(table)
    grown = {name: growth(getattr(table, name), statement.excluded[name]) for name in sums}
    keys = list(table.__table__.primary_key)
    return _compiled(statement.on_conflict_do_update(index_elements=keys, set_=grown), dialect, None)


def _compiled(statement: Any, dialect: Dialect, names: list[str] | None) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=names)
    names = compiled.positiontup
    kinds = [compiled.binds[name].type for name in names]
    conversions = ((place, _conversion(kind, dialect)) for place, kind in enumerate(kinds))
    return _Compiled(
        sql=str(compiled),
        values=itemgetter(*names),
        conversions=tuple((place, convert) for place, convert in conversions if convert is not None),
        constants={name: value for name, value in compiled.params.items() if value is not None},
    )


def _conversion(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(kind, Text):
        return None  # the records are storable
    convert: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return convert
