"""Nothing is planned twice: the plans of a conversation's first turn are kept and reused while they fit."""

import json

import pytest

TOOL = {
    "type": "function",
    "function": {
        "name": "go",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
}
TASK = {"role": "user", "content": "Find the key. You are in the hall."}
GOAL = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Have the key."}}


def went(to, number=1):
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "go", "arguments": json.dumps({"to": to})},
    }
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def saw(text, number=1):
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


def goals_planned(server):
    return [e for e in server.chats() if "Say in one short sentence" in json.dumps(e["body"])]


def guidelines_paid(server):
    return [e for e in server.chats() if "tell another assistant" in json.dumps(e["body"])]


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    from tests.support.proxy_process import ProxyProcess

    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"), small_server.base_url, large_server.base_url, small={"tools": True}
    ) as process:
        yield process


def ask(proxy, *messages, **extra):
    given = {"tools": [TOOL], **extra}
    return proxy.client().chat.completions.create(model="cope", messages=list(messages), **given)


@pytest.mark.parametrize(
    "later",
    [
        [went("attic"), saw("The attic is empty.")],
        [{"role": "assistant", "content": "I go to the attic."}, {"role": "user", "content": "It is empty."}],
    ],
    ids=["tool loop", "observations as messages"],
)
def test_goal_lasts_a_conversation(proxy, small_server, later):
    """The second turn plans nothing, and every executor sees the first turn's goal."""
    small_server.script(GOAL, {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "attic"}}]}})
    task = {**TASK, "content": TASK["content"] + str(len(later[0].get("content") or ""))}
    ask(proxy, task)
    planned = len(goals_planned(small_server))
    assert planned >= 3
    answer = ask(proxy, task, *later)
    assert answer.cope["stage"] == 1
    assert len(goals_planned(small_server)) == planned
    assert "Goal: Have the key." in json.dumps(small_server.chats()[-1]["body"])


def test_guideline_is_paid_once(proxy, small_server, large_server):
    """Turns that are unsure again go on with the guideline that the first one paid for, up to stage 3."""
    moves = [{"tool_calls": [{"name": "go", "arguments": {"to": str(i)}}]} for i in range(97)]
    small_server.script(GOAL, {"reply": moves})
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "look under the mat"}},
        {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "mat"}}]}},
    )
    task = {**TASK, "content": "Find the other key."}
    assert ask(proxy, task).cope["stage"] == 3
    assert ask(proxy, task, went("mat"), saw("A mat.")).cope["stage"] == 3
    assert len(guidelines_paid(large_server)) == 1
    assert len(large_server.chats()) == 3
    assert "Guideline: look under the mat" in json.dumps(large_server.chats()[-1]["body"])


@pytest.mark.parametrize(("said", "paid"), [("look under the mat", 1), ("none", 1), (" ", 2)])
def test_guideline_outlives_easy_turns(proxy, small_server, large_server, said, paid):
    """A turn that stage 1 answers forgets neither the guideline nor that the planner found none needed.

    A planner that wrote nothing at all has not said so, and is asked again.
    """
    sure = {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "attic"}}]}}
    unsure = {"reply": [{"tool_calls": [{"name": "go", "arguments": {"to": str(i)}}]} for i in range(97)]}
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": said}},
        {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "mat"}}]}},
    )
    turns = [{**TASK, "content": f"Find the key of the chest. {said}"}]
    for moves, stage in ((unsure, 3), (sure, 1), (unsure, 3)):
        small_server.script(GOAL, moves)
        assert ask(proxy, *turns).cope["stage"] == stage
        turns += [went("mat"), saw("A mat.")]
    assert len(guidelines_paid(large_server)) == paid
    told = "Guideline: look under the mat" in json.dumps(large_server.chats()[-1]["body"])
    assert told is (said == "look under the mat")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{**TOOL, "function": {**TOOL["function"], "name": "walk"}}]},
        {"extra_headers": {"X-COPE-Session": "another"}},
        {"messages": [{"role": "user", "content": "Find the lamp."}, went("attic"), saw("Dark.")]},
    ],
    ids=["other tools", "other session", "other task"],
)
def test_unfitting_plan_is_unused(proxy, small_server, change):
    """Other tools, another session or another beginning is another conversation."""
    small_server.script(GOAL, {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "attic"}}]}})
    ask(proxy, TASK)
    planned = len(goals_planned(small_server))
    later = change.pop("messages", [TASK, went("attic"), saw("Dark.")])
    ask(proxy, *later, **change)
    assert len(goals_planned(small_server)) > planned


def test_new_question_new_plan(proxy, small_server):
    """Without tools each question of a conversation is a task of its own."""
    small_server.script(GOAL, {"reply": {"content": "\\boxed{42}"}})
    first = {"role": "user", "content": "What is 6 times 7? Calculate the number."}
    ask(proxy, first, tools=[])
    planned = len(goals_planned(small_server))
    ask(
        proxy,
        first,
        {"role": "assistant", "content": "42"},
        {"role": "user", "content": "What is 7 times 6? Calculate the number."},
        tools=[],
    )
    assert len(goals_planned(small_server)) > planned


def test_invalid_calls_have_no_vote(proxy, small_server, large_server):
    """Samples that agree on an invalid call are not a majority."""
    small_server.script(GOAL, {"reply": {"tool_calls": [{"name": "go", "arguments": {"where": "attic"}}]}})
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "mind the schema"}},
        {"reply": {"tool_calls": [{"name": "go", "arguments": {"to": "attic"}}]}},
    )
    answer = ask(proxy, {"role": "user", "content": "Go up."})
    assert answer.cope["stage"] == 3
    assert [s["agreed"] for s in answer.cope["stages"]] == [0, 0]
