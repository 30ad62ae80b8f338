"""The estimated value of a guideline: means over requests alike, and what they say about one request."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.service.guideline_value import (
    MIN_ANSWERS,
    MIN_GUIDED,
    PRIOR,
    Answered,
    Estimate,
    Features,
    Guided,
    estimate,
    length_of,
)

SIZES = st.integers(1, 10**7)
SHARES = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
FEATURES = st.builds(Features, SIZES.map(length_of), SHARES)
AMOUNTS = st.integers(0, 10**9)
GUIDED = st.lists(
    st.builds(
        Guided, features=FEATURES, accepted=st.booleans(), price=st.none() | AMOUNTS, extra=st.integers(-100, 10**6)
    ),
    min_size=MIN_GUIDED,
    max_size=60,
).filter(lambda found: any(one.price is not None for one in found))  # fmt: skip
ANSWERS = st.lists(st.builds(Answered, SIZES.map(length_of), AMOUNTS), min_size=MIN_ANSWERS, max_size=20)
USUAL = length_of(1000)


def guided(count, *, accepted=0, price=250, extra=0, share=0.5, length=USUAL):
    features = Features(length, share)
    return [Guided(features=features, accepted=i < accepted, price=price, extra=extra) for i in range(count)]


def answers(cost=1000, count=MIN_ANSWERS, length=USUAL):
    return [Answered(length, cost)] * count


@given(FEATURES, GUIDED, ANSWERS, st.randoms())
def test_estimates_are_means(request, found, paid, lot):
    """They lie between the lowest and the highest value seen, and the order of the requests does not matter."""
    value = estimate(request, found, paid)
    assert 0 <= value.chance <= 1
    assert 0 < value.error < 0.5
    costs = [one.cost for one in paid]
    assert min(costs) - 1 <= value.answer <= max(costs) + 1
    prices = [one.price for one in found if one.price is not None]
    part, extras = len(prices) / len(found), [one.extra for one in found]
    assert part * min(prices) + min(extras) - 1 <= value.price <= part * max(prices) + max(extras) + 1
    shuffled = lot.sample(found, len(found)), lot.sample(paid, len(paid))
    again = estimate(request, *shuffled)
    for name in ("chance", "error", "answer", "price"):
        assert getattr(again, name) == pytest.approx(getattr(value, name))


@given(FEATURES, GUIDED, ANSWERS, FEATURES)
def test_more_acceptance_never_lowers_the_chance(request, found, paid, other):
    """If one more of the same requests was accepted, the chance is higher or the same."""
    better = [*found[1:], Guided(features=found[0].features, accepted=True, price=found[0].price, extra=0)]
    assert estimate(request, better, paid).chance >= estimate(request, found, paid).chance - 1e-12


@given(FEATURES, SHARES)
def test_requests_of_another_kind_say_only_the_mean(request, share):
    """Without any request alike, the estimate is the mean of all. So it is if nothing tells them apart."""
    far = Features(request.length + 100, share)
    found = [Guided(features=far, accepted=i % 4 == 0, price=200, extra=10) for i in range(80)]
    value = estimate(request, found, answers(900, length=far.length))
    assert value.chance == pytest.approx(0.25)
    assert (value.answer, value.price) == (pytest.approx(900), pytest.approx(210))


def test_agreement_and_length_tell_requests_apart():
    """Stage 2 accepts if stage 1 nearly agreed, and an answer is dear if the request is long."""
    found = [*guided(100, accepted=80, share=0.75), *guided(100, share=0.25)]
    paid = [*answers(1000, 50), *answers(5000, 50, length=length_of(100_000))]
    near, lost = (estimate(Features(USUAL, share), found, paid) for share in (0.75, 0.25))
    assert (near.chance > 0.7, lost.chance < 0.1) == (True, True)
    assert near.earns
    assert not lost.earns
    unknown = estimate(Features(USUAL), found, paid)
    assert unknown.chance == pytest.approx(0.4)
    long = estimate(Features(length_of(90_000), 0.75), found, paid)
    assert (near.answer < 2000, long.answer > 4000) == (True, True)


@given(st.integers(0, 200), st.integers(1, 2000))
def test_only_losses_are_skipped(accepted, price):
    """Guidelines that earn their price are bought, and those that clearly lose are not."""
    value = estimate(Features(USUAL, 0.5), guided(200, accepted=accepted, price=price), answers())
    assert value.earns or accepted / 200 * 1000 <= price
    assert (
        not value.earns or accepted / 200 * 1000 > price - 25
    )  # half a standard error is 18 of 1000 at most


def test_few_requests_alike_prove_little():
    """Two accepted ones hardly change a mean of many, and the error is larger than that of many."""
    found = [*guided(200, accepted=20, share=0.25), *guided(2, accepted=2, share=1.0)]
    few, many = (estimate(Features(USUAL, share), found, answers()) for share in (1.0, 0.25))
    assert few.chance == pytest.approx((2 + PRIOR * 22 / 202) / (2 + PRIOR))
    assert few.error > 2 * many.error


def test_price_is_shared_by_the_turns_of_a_conversation():
    """A guideline that serves four requests costs each of them a quarter."""
    found = [*guided(20, price=400, extra=5), *guided(60, price=None, extra=5)]
    assert estimate(Features(USUAL, 0.5), found, answers()).price == pytest.approx(105)


@pytest.mark.parametrize(
    ("found", "paid"),
    [
        (guided(MIN_GUIDED - 1), answers()),
        (guided(MIN_GUIDED), answers(count=MIN_ANSWERS - 1)),
        (guided(MIN_GUIDED, price=None), answers()),
        ([], []),
    ],
)
def test_too_little_evidence(found, paid):
    """Nothing is said about few guidelines, about the price of few answers, or without a price of a guideline."""
    assert estimate(Features(USUAL, 0.5), found, paid) is None
    assert estimate(Features(USUAL, 0.5), guided(MIN_GUIDED), answers()) is not None


def test_certainty_is_never_complete():
    """A guideline at a hundredth of an answer is bought although none of 40 was accepted, but not after 400."""
    for count, earns in ((40, True), (400, False)):
        found = guided(count, price=10)
        assert estimate(Features(USUAL, 0.5), found, answers()).earns is earns


def test_chance_above_one_is_one():
    """A guideline that costs more than an answer never earns its price."""
    assert not Estimate(chance=1.0, error=0.4, answer=1000, price=1000).earns
    assert Estimate(chance=1.0, error=0.4, answer=1000, price=999).earns


def test_empty_request_has_a_length():
    assert length_of(0) == length_of(1) == 0
    assert math.isfinite(length_of(2**40))
