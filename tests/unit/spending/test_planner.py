"""The large planner: what it is sent, and what its answer means."""

import asyncio
from dataclasses import replace

import pytest

from proxy.cascade.types import NO_GUIDELINE_NEEDED
from proxy.config.schema import LargeModel
from proxy.errors import NoBudgetError
from proxy.formats.chat import Chat
from proxy.formats.prompt_cache import OFF, CacheUse
from proxy.formats.responses import Responses
from proxy.spending.planner import REASONING_ROOM, PaidPlanner, plan_request
from tests.unit.spending.parts import BODY, MODEL, PRICE, FixedBudget, connected, spending


def guideline(server, budget=None, body=BODY, answerer=MODEL, prices=None):
    """Pay for one guideline. Return it, and the call's record if there is one."""

    async def main():
        async with connected(server) as upstream:
            parts = spending(budget or FixedBudget(), upstream)
            parts = replace(parts, prices=prices or parts.prices)
            planner = PaidPlanner(
                spending=parts,
                model=MODEL,
                answerer=answerer,
                max_tokens=40,
                format=Chat(),
                body={**body, "temperature": 1},
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


TOOL = {"type": "function", "function": {"name": "go", "parameters": {"type": "object"}}}
LONG = {"role": "user", "content": "Add them. " * 500}
CACHED = CacheUse(fields="breakpoints", key="k")


def test_planner_gets_the_clients_prefix():
    """Tools, verbosity and messages are the client's. The tools may not be called, and the answer's limits stay away."""
    own = {"messages": [LONG], "tools": [TOOL], "parallel_tool_calls": False, "verbosity": "low"}
    body = own | {
        "max_tokens": 9,
        "n": 1,
        "stream": True,
        "tool_choice": "required",
        "store": True,
        "stop": ["x"],
    }
    request, _ = plan_request("gpt-4o", body, 40, format_=Chat())
    for name in ("tools", "parallel_tool_calls", "verbosity"):
        assert request[name] == own[name]
    assert (request["tool_choice"], request["stop"]) == ("none", ["\n\n"])
    assert request["messages"][0]["content"].startswith(LONG["content"])
    assert not {"max_tokens", "n", "stream", "store"} & request.keys()


@pytest.mark.parametrize(
    ("cache", "messages", "effort"),
    [(CACHED, [LONG], None), (CACHED, BODY["messages"], "low"), (OFF, [LONG], "low")],
)
def test_effort_of_a_cached_prompt(cache, messages, effort):
    """The effort is part of the prefix. It is lowered only if the prompt is not cached."""
    request, _ = plan_request("gpt-5.6-sol", {"messages": messages}, 40, format_=Chat(), cache=cache)
    assert request.get("reasoning_effort") == effort


@pytest.mark.parametrize("body", [{"messages": [LONG]}, {"input": LONG["content"]}])
def test_planner_that_does_not_answer(body):
    """It gets the messages and the tools, but no field that is for the model that answers, and writes into no cache."""
    for_answerer = {
        "reasoning_effort": "high", "reasoning": {"effort": "high"}, "verbosity": "low", "prompt_cache_key": "mine",
        "text": {"verbosity": "low"}, "prompt_cache_retention": "24h",
    }  # fmt: skip
    format_ = Chat() if "messages" in body else Responses()
    own = {**body, "tools": [TOOL], **for_answerer}
    request, limit = plan_request("gpt-4o", own, 40, format_=format_, cache=CACHED, answers_too=False)
    assert for_answerer.keys() & request.keys() == set()
    assert (request["tools"], request["tool_choice"], limit) == ([TOOL], "none", 40)
    assert request["prompt_cache_options"] == {"mode": "explicit"}
    thinks, _ = plan_request("gpt-5.6-luna", own, 40, format_=format_, cache=CACHED, answers_too=False)
    effort = thinks.get("reasoning_effort") or thinks["reasoning"]["effort"]
    assert effort == "low"


def test_price_of_the_answer_is_checked(large_server):
    """What the model that answers could not be paid for needs no guideline, whatever the planner costs."""
    dear = LargeModel("dear", "", "dear")
    writes = {
        "role": "user",
        "content": [{"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}],
    }
    prices = {MODEL.name: replace(PRICE, cache_write=1), dear.name: PRICE}
    body = {"messages": [writes]}
    assert guideline(large_server, body=body, answerer=dear, prices=prices) == (None, [])
    large_server.say("Add them.")
    assert guideline(large_server, body=body, prices=prices)[0] == "Add them."


def test_planner_of_a_response():
    """It is asked at the endpoint of the answer, and its request is not stored."""
    body = {
        "input": "Add them.", "instructions": "Be short.", "store": True, "max_output_tokens": 5,
        "tools": [{"type": "function", "name": "go"}], "reasoning": {"summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
    }  # fmt: skip
    request, limit = plan_request("o3", body, 40, format_=Responses())
    assert request["input"][0] == {"role": "user", "content": "Add them."}
    assert request["reasoning"] == {"summary": "auto", "effort": "low"}
    assert (request["text"], request["store"], request["tool_choice"]) == (
        {"verbosity": "low"},
        False,
        "none",
    )
    assert "max_output_tokens" not in request
    assert limit == 40 + REASONING_ROOM
