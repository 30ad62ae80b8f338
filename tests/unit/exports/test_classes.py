"""The cost of a call over its token classes: the parts add up to the booked cost, always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exports.classes import parts_of
from proxy.ledger.billed_calls import BilledCall
from proxy.pricing.prices import Price, Usage, cost

MTOK = 10**6
counts = st.integers(0, 10**7)
rates = st.integers(0, 10**12)


def billed(booked=None, prompt=0, cached=0, completion=0, reasoning=0, rates=(3, None, 7), more=(None,) * 14):
    price = Price(input=rates[0], cached_input=rates[1], output=rates[2])
    usage = Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
    booked = cost(price, usage) if booked is None else booked
    return BilledCall(
        "m", "large", None, prompt, cached, completion, reasoning, booked, *rates, "config", *more, ()
    )


@given(counts, counts, counts, counts, st.tuples(rates, st.none() | rates, rates))
def test_parts_add_up(prompt, cached, completion, reasoning, rates):
    """Every usage at every price, also with counts that contradict each other."""
    call = billed(None, prompt, min(cached, prompt), completion, reasoning, rates)
    parts = parts_of(call)
    assert sum(part.cost for part in parts) == call.cost
    assert sum(part.tokens for part in parts) == prompt + completion
    assert all(part.token_class != "total" for part in parts)
    for part in parts:
        assert (
            abs(part.cost * MTOK - part.tokens * part.rate) < MTOK
        )  # less than a nano-USD from the exact cost


@pytest.mark.parametrize(
    ("tokens", "rates", "wanted"),
    [
        # 0.5 + 0.25 nano-USD are booked as 1: the larger fraction gets it.
        ({"prompt": 1, "completion": 1}, (500_000, None, 250_000), {"input": 1, "output": 0}),
        ({"prompt": 1, "completion": 1}, (250_000, None, 500_000), {"input": 0, "output": 1}),
        # 0.5 + 0.5: equal fractions, so the first class gets the whole.
        ({"prompt": 1, "completion": 1}, (500_000, None, 500_000), {"input": 1, "output": 0}),
        ({"prompt": 4, "cached": 3, "completion": 2, "reasoning": 2}, (MTOK, 0, 2 * MTOK),
         {"input": 1, "cached_input": 0, "reasoning": 4}),
    ],
)  # fmt: skip
def test_the_rest_goes_to_the_largest_fraction(tokens, rates, wanted):
    assert {p.token_class: p.cost for p in parts_of(billed(**tokens, rates=rates))} == wanted


@given(
    st.tuples(*[counts] * 7),
    st.tuples(rates, st.none() | rates, rates),
    st.tuples(*[st.none() | rates] * 7),
    st.tuples(*[st.none() | counts] * 3),
    counts,
)
def test_parts_of_every_class_add_up(tokens, rates, more, told, fee):
    """Cache writes, audio, images, reasoning and a fee, at known and at guessed rates, as `cost` bills them."""
    prompt, cached, written, audio_in, completion, reasoning, audio_out = tokens
    cache_write, audio_input, audio_output, hour_rate, image_input, image_output, thought = more
    hour, seen, drawn = told
    price = Price(
        input=rates[0], cached_input=rates[1], output=rates[2], cache_write=cache_write, audio_input=audio_input,
        audio_output=audio_output, request=fee, cache_write_1h=hour_rate, image_input=image_input,
        image_output=image_output, reasoning=thought,
    )  # fmt: skip
    usage = Usage(
        prompt_tokens=prompt, cached_tokens=cached, cache_write_tokens=written, audio_prompt_tokens=audio_in,
        completion_tokens=completion, audio_completion_tokens=audio_out, reasoning_tokens=reasoning,
        cache_write_1h_tokens=hour, image_prompt_tokens=seen, image_completion_tokens=drawn,
    )  # fmt: skip
    recorded = price.cache_write_rate, price.audio_input_rate, price.audio_output_rate, fee
    call = billed(
        cost(price, usage),
        prompt,
        cached,
        completion,
        reasoning,
        rates,
        (
            written,
            audio_in,
            audio_out,
            *recorded,
            *told,
            price.cache_write_1h_rate,
            image_input,
            image_output,
            thought,
        ),
    )
    parts = parts_of(call)
    assert sum(part.cost for part in parts) == call.cost
    assert all(part.token_class != "total" for part in parts)
    assert sum(part.tokens for part in parts if part.token_class != "request") == prompt + completion


def test_a_cost_from_elsewhere_is_not_divided():
    """The upstream's own cost, or a row of an old version: counts and rates do not give the booked cost."""
    (part,) = parts_of(billed(booked=123, prompt=10 * MTOK, completion=5))
    assert (part.token_class, part.tokens, part.rate, part.cost) == ("total", 10 * MTOK + 5, None, 123)


def test_a_refused_call_has_no_parts():
    assert parts_of(billed()) == []
