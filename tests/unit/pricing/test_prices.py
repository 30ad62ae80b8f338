"""Prices: costs are exact, and never rounded in the client's favour."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.pricing.bounds import body_bound
from proxy.pricing.money import format_usd, parse_usd
from proxy.pricing.prices import (
    Price,
    Usage,
    cost,
    output_that_fits,
    per_mtok,
    worst_case,
)
from proxy.pricing.published import CLASSES, published_on, published_price
from proxy.pricing.tiers import with_bounds
from proxy.pricing.tokens import count_prompt

rates = st.integers(0, 10**12)
tokens = st.integers(0, 10**7)
flat = st.builds(
    Price, input=rates, output=rates, cached_input=st.none() | rates, audio_input=st.none() | rates,
    audio_output=st.none() | rates, cache_write=st.none() | rates, request=rates, cache_write_1h=st.none() | rates,
    image_input=st.none() | rates, image_output=st.none() | rates, reasoning=st.none() | rates,
)  # fmt: skip
prices = flat | st.builds(
    lambda steps, lists: stepped(sorted(steps), lists),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True),
    st.lists(flat, min_size=4, max_size=4),
)


def stepped(steps, lists):
    """Return a price with another list above each step of the prompt."""
    if not steps:
        return lists[0]
    return replace(lists[0], long_above=steps[0], long=stepped(steps[1:], lists[1:]))


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
def test_worst_case_is_upper_limit(price, prompt, output, data):
    """No usage within the limits costs more than the worst case, with cached, audio and long prompts.

    Audio and cache writes at an unknown rate are missing: a budget refuses them.
    """
    used, made = data.draw(st.integers(0, prompt)), data.draw(st.integers(0, output))
    lists = price.lists(prompt)
    writes = all(p.writes_cache for p in lists)
    usage = Usage(
        prompt_tokens=used,
        completion_tokens=made,
        reasoning_tokens=data.draw(st.integers(0, made)),
        image_prompt_tokens=data.draw(st.none() | st.integers(0, used)),
        image_completion_tokens=data.draw(st.none() | st.integers(0, made)),
        cache_write_1h_tokens=data.draw(st.none() | st.integers(0, used))
        if all(p.writes_cache_for_an_hour for p in lists)
        else None,
        cached_tokens=data.draw(st.integers(0, used)),
        audio_prompt_tokens=data.draw(st.integers(0, used)) if all(p.hears for p in lists) else 0,
        audio_completion_tokens=data.draw(st.integers(0, made)) if all(p.speaks for p in lists) else 0,
        cache_write_tokens=data.draw(st.integers(0, used)) if writes else 0,
    )
    assert cost(price, usage) <= worst_case(price, prompt, output)


@given(
    flat, tokens, st.sampled_from(["audio_prompt_tokens", "audio_completion_tokens", "cache_write_tokens"])
)
def test_unknown_rates_are_never_lower(price, count, kind):
    """Tokens of a kind without a known rate cost at least what text costs, and their cost is an estimate."""
    unknown = replace(
        price, audio_input=None, audio_output=None, cache_write=None, image_input=None, image_output=None
    )
    text = Usage(prompt_tokens=count, completion_tokens=count)
    special = replace(text, **{kind: count})
    assert cost(unknown, special) >= cost(unknown, text)
    assert unknown.guesses(special) is (count > 0 and not unknown.free)
    assert not unknown.guesses(text)


@pytest.mark.parametrize(
    ("model", "spoken"),
    [("gpt-4o-audio-preview", 80), ("gpt-4o-mini-audio-preview-2024-12-17", 20), ("gpt-audio", 64)],
)
def test_published_audio_prices(model, spoken):
    """OpenAI's models that speak have their own rates."""
    price = published_price(model)
    assert cost(price, Usage(completion_tokens=10**6, audio_completion_tokens=10**6)) == spoken * 10**9


@given(st.lists(prices, min_size=1, max_size=3), st.lists(prices, max_size=3), tokens, tokens, st.data())
def test_bounds_cover_tiers_and_dates(dates, tiers, prompt, output, data):
    """Whatever tier answers, and whichever price of the next minutes holds, the bound of an open request covers it."""
    names = ("priority", "flex", "batch")
    now = replace(dates[0], tiers=tuple(zip(names, tiers, strict=False)))
    price = with_bounds(now, dates[1:])
    usage = Usage(
        prompt_tokens=data.draw(st.integers(0, prompt)), completion_tokens=data.draw(st.integers(0, output))
    )
    for asked, told in (
        (None, {*names[: len(tiers)], None, "default"}), ("auto", {"default"}), ("default", {None, "default"}),
        ("flex", {"flex", "default"} if len(tiers) > 1 else {"default"}),
    ):  # fmt: skip
        most = worst_case(price.bound(asked), prompt, output)
        assert all(cost(price, replace(usage, tier=tier)) <= most for tier in told)
        assert all(cost(date, usage) <= most for date in dates)


def test_fast_tier_at_an_unknown_price():
    """A faster tier that nobody has a price for is booked at twice the list price, as an estimate. Others at that price."""
    price = Price(input=10**6, output=10**6, cached_input=10**5, cache_write=3)
    text = Usage(prompt_tokens=100, completion_tokens=10, cached_tokens=50)
    for tier, amount, guessed in (
        ("priority", 230, True), ("fast", 230, True), ("flex", 115, True), ("turbo", 115, True),
        ("default", 115, False), ("standard", 115, False), (None, 115, False),
    ):  # fmt: skip
        used = replace(text, prompt_tokens=150, tier=tier)
        assert (cost(price, used), price.guesses(used)) == (amount, guessed)


def test_images_that_are_not_told_apart():
    """If images are dearer and a usage does not tell them apart, all text beside the cache has their rate, as a guess."""
    price = Price(input=10**6, output=10**6, image_input=5 * 10**6, cached_input=0)
    told = Usage(prompt_tokens=100, cached_tokens=40, image_prompt_tokens=10)
    assert (cost(price, told), price.guesses(told)) == (10 * 5 + 50, False)
    untold = replace(told, image_prompt_tokens=None)
    assert (cost(price, untold), price.guesses(untold)) == (60 * 5, True)


def test_every_published_rate_of_tokens_has_a_class():
    """A new rate of tokens in the package is noticed: it needs a class, or it raises the rate of its direction."""
    known = {name for names in CLASSES.values() for name in names} | {"output_citation_mtok"}
    rates = [entry.prices for provider in get_snapshot().providers for model in provider.models
             for entry in (model.prices if isinstance(model.prices, list) else [])]  # fmt: skip
    rates += [m.prices for p in get_snapshot().providers for m in p.models if not isinstance(m.prices, list)]
    assert {name for price in rates for name in vars(price) if name.endswith("_mtok")} <= known


def test_unknown_audio_costs_most():
    """A model whose rate of audio nobody knows is recorded at the highest published rate, unless it is free."""
    spoken = Usage(completion_tokens=900, audio_completion_tokens=900)
    assert cost(Price(input=10**9, output=10**9), spoken) == 900 * 80_000
    assert cost(Price(input=0, output=0), spoken) == 0


def test_fee_of_a_call():
    """A fee per call comes on top of its tokens."""
    price = Price(input=10**6, output=10**6, request=5)
    assert cost(price, Usage(prompt_tokens=2)) == 7
    assert output_that_fits(price, 2, 6) < 0
    assert output_that_fits(price, 2, 9) == 2


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
        assert body_bound(model, body) >= count_prompt("gpt-4o", body)


def test_long_prompts_cost_more():
    """Each step of the prompt has its own prices, for all tokens of the call."""
    price = stepped([100, 200], [Price(input=rate, output=rate) for rate in (10**6, 2 * 10**6, 3 * 10**6)])
    found = [cost(price, Usage(prompt_tokens=n, completion_tokens=10)) for n in (100, 101, 200, 201)]
    assert found == [110, 2 * 111, 2 * 210, 3 * 211]


def published():
    """Yield the name and the prices of each model that the snapshot finds by this name alone."""
    snapshot = get_snapshot()
    for provider in snapshot.providers:
        for model in provider.models:
            try:
                _, info = snapshot.find_provider_model(model.id, None, None, None)
            except LookupError:
                continue
            yield model.id, info.get_prices(datetime.now(UTC))


def is_stepped(rates):
    return any(isinstance(rate, types.TieredPrices) for rate in vars(rates).values())


def test_published_steps_are_complete():
    """The cost of a prompt of any length is the cost that the snapshot itself computes."""
    seen = 0
    for name, rates in published():
        price = published_price(name)
        if price is None or not is_stepped(rates):
            continue
        for size in (1000, 100_000, 150_000, 250_000, 300_000, 900_000):
            usage = Usage(prompt_tokens=size, completion_tokens=1000, cached_tokens=200)
            reference = types.Usage(input_tokens=size, output_tokens=1000, cache_read_tokens=200)
            expected = rates.calc_price(reference)["total_price"]
            assert abs(Decimal(cost(price, usage)) - expected * 10**9) < 2, (name, size)
            seen += 1
    assert seen > 0


def test_published_price_of_a_model():
    """A known model has a price and a day on which it was checked."""
    price = published_price("gpt-4o")
    assert (price.input, price.output, price.cached_input) == (2_500_000_000, 10_000_000_000, 1_250_000_000)
    assert date(2025, 1, 1) < published_on("gpt-4o") <= datetime.now(UTC).date()


def test_published_price_of_embeddings():
    """An embedding has no output price, so its output is free."""
    price = published_price("text-embedding-3-small")
    assert price.input > 0
    assert price.output == 0


def test_unknown_model_has_no_price():
    """A model that the snapshot does not know has neither price nor day."""
    assert published_price("no-such-model") is None
    assert published_on("no-such-model") is None


def test_incomplete_price_is_no_price():
    """A model without an output price is not priced, because its worst case is unknown."""
    names = [n for n, rates in published() if rates.output_mtok is None and "embed" not in n]
    assert names
    assert {published_price(n) for n in names} == {None}


def test_too_precise_price():
    """A price with more than 9 decimals cannot be kept exactly and is refused."""
    assert per_mtok(Decimal("0.000000001")) == 1
    with pytest.raises(ValueError, match="9 decimals"):
        per_mtok(Decimal("0.0000000001"))
