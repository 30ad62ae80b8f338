"""Pages of lists."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ApiError
from proxy.service.pages import page_of, page_query


@given(st.integers(0, 7), st.integers(1, 4), st.booleans())
def test_pages_cover_a_list(count, limit, descending):
    """Pages that follow each other hold each element once, in the order that the query asks for."""
    elements = [{"id": f"e{i}"} for i in range(count)]
    after, seen = [], []
    while True:
        query = {"limit": [str(limit)], "order": ["desc" if descending else "asc"], "after": after}
        page = msgspec.json.decode(page_of(elements, page_query(query, default_order="asc")))
        seen += page["data"]
        ids = [element["id"] for element in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        if not page["has_more"]:
            break
        after = [page["last_id"]]
    assert seen == (elements[::-1] if descending else elements)


@given(st.integers(-5, 105), st.sampled_from(["{}", " {}", "+{}", "{}.0", "{}e0", "0{}", "{}x", "²{}"]))
def test_any_limit_is_read(number, form):
    """A limit is a number of 0 to 100, written in digits only, or a 400 that names it."""
    query = {"limit": [form.format(number)]}
    if number in range(101) and form in ("{}", "0{}"):
        assert page_query(query, default_order="asc").limit == number
    else:
        with pytest.raises(ApiError) as e:
            page_query(query, default_order="asc")
        assert (e.value.status, e.value.param) == (400, "limit")


@pytest.mark.parametrize("order", ["up", "ASC", "asc,desc"])
def test_other_orders_are_refused(order):
    """Only the two orders are known."""
    with pytest.raises(ApiError, match="order"):
        page_query({"order": [order]}, default_order="asc")
