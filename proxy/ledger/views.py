"""Rows of the database into the structs that the other rooms read."""

from typing import Any, TypeVar

V = TypeVar("V")


def view(struct: type[V], row: Any, **given: object) -> V:
    """Build a struct from a row. Each field is the column of its name, unless the field is given."""
    columns = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    names = struct.__struct_fields__  # type: ignore[attr-defined]
    return struct(**{name: given[name] if name in given else columns[name] for name in names})
