"""What the book of plans keeps, and how long."""

from proxy.cascade.plan_cache import LIFE_S, MOST, PlanCache
from proxy.cascade.types import KeptPlans

PLANS = KeptPlans("find the lamp", "look upstairs")


def test_an_unknown_page_is_empty_right_after_the_machine_has_started():
    """The clock counts from the start of the machine: no age may be made up for what was never kept."""
    book = PlanCache(clock=lambda: 5.0)
    assert book.find(b"page") == book.find(None) == KeptPlans()


def test_plans_are_kept_for_their_life_and_no_longer():
    """The age counts from when they were made."""
    now = 5.0
    book = PlanCache(clock=lambda: now)
    book.keep(b"page", PLANS)
    now += LIFE_S
    assert book.find(b"page") == PLANS
    now += 1
    assert book.find(b"page") == KeptPlans()


def test_the_page_that_was_used_least_recently_makes_room():
    """Reading a page counts as use."""
    book = PlanCache(clock=lambda: 5.0)
    for i in range(MOST):
        book.keep(b"%d" % i, PLANS)
    assert book.find(b"0") == PLANS
    book.keep(b"one more", PLANS)
    assert book.find(b"0") == PLANS
    assert book.find(b"1") == KeptPlans()
