"""The large planner: what it is sent, and what its answer means."""

import asyncio

import pytest

from proxy.cascade.types import NO_GUIDELINE_NEEDED
from proxy.errors import NoBudgetError
from proxy.formats.chat import Chat
from proxy.spending.planner import REASONING_ROOM, PaidPlanner, plan_request
from tests.unit.spending.parts import BODY, MODEL, FixedBudget, connected, spending


def guideline(server, budget=None, body=BODY):
    """Pay for one guideline. Return it, and the call's record if there is one."""

    async def main():
        async with connected(server) as upstream:
            parts = spending(budget or FixedBudget(), upstream)
            planner = PaidPlanner(
                spending=parts, model=MODEL, max_tokens=40, format=Chat(), body={**body, "temperature": 1}
            )
            return await planner.guideline(), parts.calls

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("written", "found"),
    [("Add them.\n\nIt is 4.", "Add them."), ("None.", NO_GUIDELINE_NEEDED), (" ", None), ("", None)],
)
def test_guideline_is_read(large_server, written, found):
    """Only the first paragraph counts. "None" means that none is needed, and silence is a failure."""
    large_server.say(written)
    text, (record,) = guideline(large_server)
    assert text == found
    assert (record.stage, record.role) == (2, "planner")
    (sent,) = large_server.chats()
    assert (sent["body"]["max_tokens"], "temperature" in sent["body"]) == (40, False)


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 500},
        {"raw_body": "[]"},
        {"raw_body": '{"choices": [{"message": null}]}'},
        {"raw_body": '{"choices": [{"message": {"content": 5}}]}'},
    ],
)
def test_failed_planner(large_server, reply):
    """The cascade goes on without a guideline, whatever the planner sends."""
    large_server.script({"reply": reply})
    text, records = guideline(large_server)
    assert text is None
    assert len(records) == 1


@pytest.mark.parametrize(
    "more", [{"service_tier": "priority"}, {"documents": []}, {"tools": [{"type": "web_search"}]}]
)
def test_no_guideline_for_unbounded_requests(large_server, more):
    """Stage 3 refuses such a request under a budget, so its guideline would be paid for in vain."""
    text, records = guideline(large_server, body={**BODY, **more})
    assert (text, records, large_server.chats()) == (None, [], [])


def test_guideline_at_list_price(large_server):
    """Without a budget, the client's service tier is for the answer only."""
    large_server.say("Add them.")
    budget = FixedBudget()
    budget.limited = False
    text, _ = guideline(large_server, budget, {**BODY, "service_tier": "priority"})
    assert text == "Add them."
    (sent,) = large_server.chats()
    assert "service_tier" not in sent["body"]


def test_unpaid_guideline(large_server):
    """A budget that does not cover the complete guideline pays for none."""
    with pytest.raises(NoBudgetError):
        guideline(large_server, FixedBudget(1))
    assert large_server.chats() == []


def test_reasoning_planner():
    """A reasoning model gets room to think, little effort, and no stop sequence, which it would refuse."""
    request, limit = plan_request("o3", {**BODY, "user": "zoe"}, 40, format_=Chat())
    assert (request["reasoning_effort"], request["user"]) == ("low", "zoe")
    assert limit == 40 + REASONING_ROOM
    assert "stop" not in request
    own, _ = plan_request("o3", {**BODY, "reasoning_effort": "high"}, 40, format_=Chat())
    assert own["reasoning_effort"] == "high"
