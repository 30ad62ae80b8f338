"""The cache of plans: how long it keeps them, and for which conversations."""

import pytest

from proxy.cascade.plan_cache import LIFE_S, MOST, PlanCache, goes_on, page_of
from proxy.cascade.types import KeptPlans, TaskKind

PLANS = KeptPlans("find the lamp", "look upstairs")


def test_unknown_page_is_empty():
    """The clock counts from the start of the machine: no age may be made up for what was never kept."""
    cache = PlanCache(clock=lambda: 5.0)
    assert cache.find(b"page") == cache.find(None) == KeptPlans()


def test_plans_expire():
    """The age counts from when they were made."""
    now = 5.0
    cache = PlanCache(clock=lambda: now)
    cache.keep(b"page", PLANS)
    now += LIFE_S
    assert cache.find(b"page") == PLANS
    now += 1
    assert cache.find(b"page") == KeptPlans()


def test_least_recent_page_goes():
    """Reading a page counts as use."""
    cache = PlanCache(clock=lambda: 5.0)
    for i in range(MOST):
        cache.keep(b"%d" % i, PLANS)
    assert cache.find(b"0") == PLANS
    cache.keep(b"one more", PLANS)
    assert cache.find(b"0") == PLANS
    assert cache.find(b"1") == KeptPlans()


OWNER = ("key", None, "large")
USER, REPLY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
AGAIN, RESULT = {"role": "user", "content": "And now?"}, {"role": "tool", "content": "42"}


def page(kind, *messages, owner=OWNER, **fields):
    return page_of(owner, kind, {"messages": list(messages), **fields})


def test_page_of_conversation():
    """An agent's page is that of its first user message, any other task's that of its last."""
    assert page(TaskKind.AGENT, USER) == page(TaskKind.AGENT, USER, REPLY, AGAIN)
    assert page(TaskKind.MATH, USER) != page(TaskKind.MATH, USER, REPLY, AGAIN)
    assert page(TaskKind.MATH, USER) == page(TaskKind.MATH, USER, RESULT)
    assert page(TaskKind.MATH, REPLY) is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TaskKind.MATH, {"tools": [{}]}),
        (TaskKind.MATH, {"response_format": {}}),
        (TaskKind.MATH, {"owner": ("other", None, "large")}),
        (TaskKind.CODE, {}),
    ],
)
def test_pages_stay_apart(kind, fields):
    """Other tools, formats, owners and kinds have other plans."""
    assert page(kind, USER, **fields) != page(TaskKind.MATH, USER)


@pytest.mark.parametrize(
    ("kind", "messages", "expected"),
    [
        (TaskKind.AGENT, [USER], False),
        (TaskKind.AGENT, [USER, REPLY, AGAIN], True),
        (TaskKind.AGENT, [REPLY], True),
        (TaskKind.MATH, [USER, REPLY, AGAIN], False),
        (TaskKind.MATH, [USER, RESULT], True),
    ],
)
def test_conversation_goes_on(kind, messages, expected):
    """Plans are used again only after the message that they were made for."""
    assert goes_on(kind, {"messages": messages}) is expected
