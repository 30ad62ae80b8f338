"""The baseline: what the large model alone would have read, written and cost."""

from dataclasses import replace

import pytest

from proxy.pricing.prices import Price, Usage
from proxy.pricing.tokens import count_prompt
from proxy.service.baseline import prompt_alone, usage_alone
from tests.support.ledger import call

PRICE = Price(input=4, output=20, cached_input=1)
LONG = {"role": "user", "content": "crate " * 1200}
NEXT = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]


@pytest.mark.parametrize(
    ("messages", "price", "read"),
    [
        ([LONG], PRICE, 0),
        ([LONG, *NEXT], PRICE, count_prompt("gpt-4o", {"messages": [LONG]})),
        ([LONG, *NEXT, *NEXT], PRICE, count_prompt("gpt-4o", {"messages": [LONG, *NEXT]})),
        ([LONG, *NEXT], replace(PRICE, cached_input=None), 0),
        ([{"role": "user", "content": "Hi."}, *NEXT], PRICE, 0),
    ],
    ids=["first turn", "second turn", "third turn", "unknown price", "short prompt"],
)
def test_local_answer_in_a_conversation(messages, price, read):
    """The large model alone would have read the turn before, if it is long enough and the price of that is known."""
    chat = {"messages": messages}
    assert prompt_alone("gpt-4o", price, chat) == Usage(
        prompt_tokens=count_prompt("gpt-4o", chat), cached_tokens=read
    )


ANSWER = Usage(prompt_tokens=5000, completion_tokens=9, cached_tokens=4900)


def planned(*, estimated):
    """Return the record of a planner's call that wrote most of the prompt."""
    usage = Usage(prompt_tokens=4950, cached_tokens=1000, cache_write_tokens=3900)
    return call("c1", usage=usage, estimated=estimated)


def test_answer_after_its_planner():
    """Without the planner, the answer would have written what the planner's call wrote, and read what that call read."""
    alone = usage_alone(ANSWER, 50, planned(estimated=False))
    assert alone == Usage(
        prompt_tokens=4950, completion_tokens=9, cached_tokens=1000, cache_write_tokens=3900
    )


@pytest.mark.parametrize("planner", [None, planned(estimated=True)])
def test_answer_without_a_known_planner(planner):
    """The answer's own usage counts."""
    assert usage_alone(ANSWER, 200, planner) == Usage(
        prompt_tokens=4800, completion_tokens=9, cached_tokens=4800
    )
