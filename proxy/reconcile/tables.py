"""Read the rows of a CSV file as vendors and spreadsheets write it."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.reconcile.figures import ReportError

_DELIMITERS = ",;\t"
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Table(NamedTuple):
    """The columns of a file, its rows with their places, and whether a comma is its decimal point."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[str, Mapping[str, str]]]
    comma: bool


def decoded(data: bytes, name: str) -> str:
    """Decode a file, with or without a byte order mark.

    Raises:
        ReportError: it is neither UTF-8 nor UTF-16.
    """
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ReportError(f"{name}: it is not a text in UTF-8; save the export unchanged") from None


def read_table(text: str, name: str) -> Table:
    """Read a CSV with commas, semicolons or tabs. Names of columns are made lower-case.

    Raises:
        ReportError: it has no header, or a row that does not fit it.
    """
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    lines = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter, strict=True)
    try:
        columns = tuple(column.strip().lower() for column in next(lines, []))
    except csv.Error as e:
        raise ReportError(f"{name}, line 1: it is not CSV ({e}); save the export unchanged") from None
    if not any(columns):
        raise ReportError(f"{name}: the file is empty; export the report again")
    if len(set(columns)) < len(columns):
        raise ReportError(f"{name}, line 1: a column is there twice; export the report again")
    return Table(columns, _rows(lines, columns, name), delimiter == ";")


def _rows(
    lines: Iterator[list[str]], columns: tuple[str, ...], name: str
) -> Iterator[tuple[str, Mapping[str, str]]]:
    line = 1
    while True:
        line += 1
        try:
            cells = next(lines, None)
        except csv.Error as e:
            raise ReportError(f"{name}, line {line}: it is not CSV ({e}); export the report again") from None
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise ReportError(
                f"{name}, line {line}: {len(cells)} cells for {len(columns)} columns; "
                "the file may be cut off, so export it again"
            )
        yield f"{name}, line {line}", dict(zip(columns, (c.strip() for c in cells), strict=True))
