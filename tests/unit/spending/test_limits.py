"""The limits of paid calls, which every paid call gets in the same way."""

import asyncio

import pytest

from proxy.config.schema import LargeModel
from proxy.errors import ApiError
from proxy.formats.chat import Chat
from proxy.formats.responses import Responses
from proxy.pricing.bounds import LONGEST_CONTEXT
from proxy.spending.limits import QUICKLY_COUNTED_BYTES, QUICKLY_READ_BYTES, call_limits
from tests.unit.spending.parts import BODY, MODEL, FixedBudget, spending

KNOWN_MODEL = LargeModel(MODEL.name, "", "gpt-4o")
"""A model whose tokens can be counted."""


def limits(body, format_=None, *, limited=True, much_room=False, **more):
    """Return the limits of a call with or without a budget."""
    budget = FixedBudget(much_room=much_room)
    budget.limited = limited
    return asyncio.run(
        call_limits(spending(budget), KNOWN_MODEL, format_ or Chat(), body, default_output=70, **more)
    )


def test_size_is_enough_without_budget():
    """Without a budget, no token is counted if the size of the request is known."""
    found = limits({**BODY, "documents": []}, limited=False, size=100, context_tokens=7)
    assert (found.asked, found.prompt) == (70, 207)
    assert limits(BODY, limited=False).prompt < 207  # it is counted, because no size is known


def test_budget_counts_tokens():
    """Under a budget, the body that goes out and the context of the upstream are counted."""
    counted = limits(BODY).prompt
    assert limits(BODY, size=1, context_tokens=5).prompt == counted + 5
    assert limits({**BODY, "stream": True}).prompt > counted


@pytest.mark.parametrize(
    ("format_", "body", "context", "name"),
    [
        (Chat(), {**BODY, "documents": []}, 0, "documents"),
        (Responses(), {"input": "x", "previous_response_id": "resp_1"}, LONGEST_CONTEXT, "previous_response_id"),
    ],
)  # fmt: skip
def test_unbounded_cost_is_named(format_, body, context, name):
    """A budget refuses what may cost more than it can know."""
    with pytest.raises(ApiError, match="no known upper limit") as e:
        limits(body, format_, context_tokens=context)
    assert (e.value.status, e.value.code, e.value.param) == (400, "unbounded_cost", name)


def test_known_context_is_bounded():
    """A response that the proxy has seen can be continued under a budget."""
    body = {"input": "x", "previous_response_id": "resp_1"}
    assert limits(body, Responses(), context_tokens=500).prompt > 500


@pytest.mark.parametrize("size", [1, QUICKLY_COUNTED_BYTES + 1, QUICKLY_READ_BYTES + 1])
def test_much_room_needs_no_count(size):
    """With much room the bytes are the limit, and its tokens can be counted later."""
    found = limits(BODY, much_room=True, size=size, context_tokens=5)
    counted = limits(BODY, size=size, context_tokens=5)
    assert found.prompt > counted.prompt
    assert (counted.count, asyncio.run(found.counted())) == (None, counted)
