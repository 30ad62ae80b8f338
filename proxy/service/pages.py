"""Pages of lists, as OpenAI's list endpoints have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.errors import bad_request

DEFAULT_LIMIT, HIGHEST_LIMIT = 20, 100
Query = Mapping[str, Sequence[str]]
"""The parameters of a query. A parameter may be given more than once."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a list a client wants. `after` is the id of the last element of the page before."""

    limit: int
    descending: bool
    after: str | None


def page_query(query: Query, *, default_order: str) -> PageQuery:
    """Read `limit` (0 to 100), `order` and `after`.

    Raises:
        ApiError: 400 that names the parameter.
    """
    limit = whole_number(query, "limit")
    if limit is not None and limit > HIGHEST_LIMIT:
        raise bad_request(f"'limit' has to be in 0..{HIGHEST_LIMIT}.", param="limit", code="invalid_value")
    order = one(query, "order") or default_order
    if order not in ("asc", "desc"):
        raise bad_request("'order' has to be 'asc' or 'desc'.", param="order", code="invalid_value")
    return PageQuery(DEFAULT_LIMIT if limit is None else limit, order == "desc", one(query, "after"))


def one(query: Query, name: str) -> str | None:
    """Return the last value of a parameter, or `None` if it is missing or empty."""
    return (query.get(name) or [""])[-1] or None


def whole_number(query: Query, name: str) -> int | None:
    """Return a parameter that is a number of at least 0, or `None` if it is missing.

    Raises:
        ApiError: 400 that names the parameter.
    """
    given = one(query, name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise bad_request(f"'{name}' has to be a whole number.", param=name, code="invalid_type")
    return int(given)


def page_of(elements: Sequence[Mapping[str, Any]], wanted: PageQuery) -> bytes:
    """Return a page of elements that are all at hand, oldest first. An unknown `after` has an empty page."""
    ordered = list(reversed(elements)) if wanted.descending else list(elements)
    if wanted.after is not None:
        places = [i for i, element in enumerate(ordered) if element["id"] == wanted.after]
        ordered = ordered[places[-1] + 1 :] if places else []
    return list_object(ordered[: wanted.limit], has_more=len(ordered) > wanted.limit)


def list_object(data: Sequence[Mapping[str, Any]], *, has_more: bool) -> bytes:
    """Return OpenAI's `list` object."""
    ids = [element.get("id") for element in data] or [None]
    page = {"object": "list", "data": data, "first_id": ids[0], "last_id": ids[-1], "has_more": has_more}
    return msgspec.json.encode(page)
