"""Write rows to a CSV or Parquet file. The file appears complete or not at all."""

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from proxy.exports.columns import COLUMNS, Kind
from proxy.exports.focus_rows import Row, plain

FORMATS = ("csv", "parquet")
_PRECISION, _SCALE = 38, 15
"""Of the decimals in a Parquet file: up to 10^23 USD, to the 10^-15 USD that one token may cost."""


class UnwritableError(Exception):
    """Rows cannot be written in this format. The message says what to do."""


class RowWriter(Protocol):
    """Takes the rows of a file, a batch at a time."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows."""


@contextmanager
def row_file(path: Path, file_format: str) -> Iterator[RowWriter]:
    """Open a file for rows. It takes its place, also that of an older file, when the block ends without an error.

    Raises:
        UnwritableError: the format needs a package that is not installed.
        OSError: the file cannot be written.
    """
    with replaced(path) as temporary:
        if file_format == "parquet":
            with _parquet(temporary) as writer:
                yield writer
        else:
            with temporary.open("w", newline="", encoding="utf-8") as out:
                yield _Csv(out)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`. It replaces `path` when the block ends, and goes away after an error."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Csv:
    def __init__(self, out: Any) -> None:
        self._out = csv.writer(out)
        self._out.writerow(column.name for column in COLUMNS)

    def write(self, rows: Sequence[Row]) -> None:
        self._out.writerows([_cell(row[column.name]) for column in COLUMNS] for row in rows)


def _cell(value: str | Decimal | datetime | None) -> str | None:
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


@contextmanager
def _parquet(path: Path) -> Iterator[RowWriter]:
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise UnwritableError("Parquet needs pyarrow: pip install 'cope-proxy[parquet]'") from None
    types: dict[Kind, Any] = {
        "text": pa.string(),
        "json": pa.string(),
        "decimal": pa.decimal128(_PRECISION, _SCALE),
        "time": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([pa.field(c.name, types[c.kind], nullable=c.nullable) for c in COLUMNS])
    with pq.ParquetWriter(path, schema) as out:
        yield _Parquet(out, schema, pa)


class _Parquet:
    def __init__(self, out: Any, schema: Any, arrow: Any) -> None:
        self._out, self._schema, self._arrow = out, schema, arrow

    def write(self, rows: Sequence[Row]) -> None:
        self._out.write_table(self._arrow.Table.from_pylist(list(rows), self._schema))
