"""What is booked equals what `genai-prices` itself computes, to the nano-dollar, rounded up."""

from datetime import UTC, datetime

import pytest

from proxy.formats.chat import Chat
from proxy.formats.responses import Responses
from proxy.pricing.prices import cost
from proxy.pricing.published import price_changes, published_price
from tests.support.vendor_bills import CALLS, nano_of

FORMATS = {f.path: f for f in (Chat(), Responses())}


@pytest.mark.parametrize("name", list(CALLS))
def test_booked_as_the_package_computes(name):
    """The tokens that a format reads of an answer cost what the package computes for the same answer and time."""
    call = CALLS[name]
    usage = FORMATS[call.path].read_complete(call.answer).usage
    price = published_price(call.model, call.at)
    assert cost(price, usage) == nano_of(call)
    assert not price.guesses(usage)


def test_tiers_and_dates_differ():
    """The answers are not all at one price: tiers, lengths and days change the amount."""
    amounts = {name: nano_of(call) for name, call in CALLS.items()}
    for one, other in (
        ("before a price cut", "after a price cut"), ("before a rise", "after a rise"), ("cheap hours", "dear hours"),
        ("Claude writes for five minutes", "Claude writes for an hour"), ("long flex", "long priority"),
    ):  # fmt: skip
        assert amounts[one] != amounts[other]
    assert len(CALLS) >= 30


def test_unknown_models_have_no_changes():
    """A model that the package does not know has no price, and no days on which one begins."""
    assert published_price("no-such-model") is None
    assert (
        price_changes("no-such-model", datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
        == []
    )
