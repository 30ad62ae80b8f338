"""Prices: costs are exact, and never rounded in the client's favour."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.pricing.money import format_usd, parse_usd
from proxy.pricing.prices import Price, Usage, cost, output_that_fits, worst_case
from proxy.pricing.tokens import count_prompt, prompt_bound

rates = st.integers(0, 10**12)
tokens = st.integers(0, 10**7)
prices = st.builds(Price, input=rates, output=rates, cached_input=st.none() | rates)


@given(st.integers(0, 10**18))
def test_amounts_round_trip(nano):
    """`format_usd` and `parse_usd` are exact inverses."""
    assert parse_usd(format_usd(nano)) == nano


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e400", "", "abc", "1,5", "-0.0000000001"])
def test_invalid_amounts(text):
    """Each refusal is a ValueError with a message."""
    with pytest.raises(ValueError, match=r"."):
        parse_usd(text)


@given(prices, tokens, tokens, st.data())
def test_worst_case_is_an_upper_limit(price, prompt, output, data):
    """No usage within the limits costs more than the worst case."""
    used = data.draw(st.integers(0, prompt))
    usage = Usage(
        prompt_tokens=used,
        completion_tokens=data.draw(st.integers(0, output)),
        cached_tokens=data.draw(st.integers(0, used)),
    )
    assert cost(price, usage) <= worst_case(price, prompt, output)


@given(prices, tokens, st.integers(0, 10**15))
def test_output_that_fits(price, prompt, available):
    """The limit is the largest one with a worst case within the amount."""
    fits = output_that_fits(price, prompt, available)
    if fits is None:
        assert worst_case(price, prompt, 10**9) <= available
    elif fits < 0:
        assert worst_case(price, prompt, 0) > available
    else:
        assert worst_case(price, prompt, fits) <= available < worst_case(price, prompt, fits + 1)


def test_cost_of_a_call():
    """The published example: 1000 in, 400 of them cached, 100 out."""
    price = Price(input=2_500_000_000, cached_input=1_250_000_000, output=10_000_000_000)
    expected = (600 * Decimal("2.5") + 400 * Decimal("1.25") + 100 * 10) / 10**6
    assert cost(price, Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=400)) == int(
        expected * 10**9
    )


@settings(deadline=None)  # the first count loads the encoding
@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=200)),
        min_size=1,
        max_size=5,
    )
)
def test_prompt_bound_exceeds_count(turns):
    """The upper limit is at least the expected count, for known and unknown models and any text."""
    body = {"messages": [{"role": r, "content": c} for r, c in turns]}
    for model in ("gpt-4o", "someone-elses-model"):
        assert prompt_bound(model, body) >= count_prompt("gpt-4o", body)
