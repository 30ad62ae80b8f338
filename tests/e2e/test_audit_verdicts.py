"""Audits of answers that have no value to compare: the large model judges texts, and calls are compared."""

import json

import pytest

from tests.support.audits import rows
from tests.support.cascade import ask
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow


def test_an_open_answer_is_judged(audited, small_server, large_server):
    """There is no value to compare: the large model says whether the answer is right."""
    small_server.say("Because of the sun.")
    large_server.say("No.")
    ask(audited.client(), "Why is the sky blue in the morning?")
    (row,) = rows(audited, 1)
    assert (row["task"], row["agreed"]) == ("open", 0)
    assert "Because of the sun." in json.dumps(large_server.chats()[-1]["body"])


def test_judge_has_reasoning_room(make_proxy, small_server):
    """Reasoning models spend tokens before they say yes; cut off there they would judge nothing."""
    with StandIn(["o3"]) as thinker:
        proxy = make_proxy(
            audit={"share": 1.0, "budget_usd": 1},
            large={"base_url": thinker.base_url, "model": "o3"},
            prices={"o3": {"input_per_mtok": 2, "output_per_mtok": 8}},
        )
        small_server.say("Because of the sun.")
        thinker.say("yes")
        ask(proxy.client(), "Why is the sky blue in the morning?")
        assert rows(proxy, 1)[0]["agreed"] == 1
        assert thinker.chats()[-1]["body"]["max_tokens"] > 1000
        proxy.stop()


def test_judge_sees_the_conversation(audited, small_server, large_server):
    """Whether "it" was explained well depends on what was said before; what is no message is not sent."""
    small_server.say("Because of the sun.")
    large_server.say("yes")
    conversation = [
        {"role": "system", "content": "You speak to children."},
        {"role": "user", "content": "Tell me of the sky."},
        {"role": "assistant", "content": "It is blue."},
        {"role": "user", "content": "Why is it so?"},
    ]
    with audited.client() as client:
        client.chat.completions.create(model="cope", messages=conversation, temperature=0.5, max_tokens=50)
    (row,) = rows(audited, 1)
    assert (row["task"], row["agreed"]) == ("open", 1)
    sent = large_server.chats()[-1]["body"]
    *before, judged, asked = sent["messages"]
    assert before == conversation
    assert judged == {"role": "assistant", "content": "Because of the sun."}
    assert asked["role"] == "user"
    assert "only yes or no" in asked["content"]
    assert sent.keys() == {"model", "messages", "max_tokens"}


def test_verdict_is_one_word(audited, small_server, large_server):
    """However it is set off; what begins with another word is none."""
    verdicts = {
        "**Yes**": 1,
        "Yes.": 1,
        "\n__yes__": 1,
        "Not only is it right, it is helpful.": None,
        "Nothing is wrong with it.": None,
        "Yesterday it was.": None,
        "**No**, it is not.": 0,
        "No": 0,
    }
    small_server.say("Because of the sun.")
    large_server.script({"reply": [{"content": said} for said in verdicts]})
    for _ in verdicts:
        ask(audited.client(), "Why is the sky blue in the morning?")
    found = [row["agreed"] for row in rows(audited, len(verdicts))]
    assert dict(zip(verdicts, found, strict=True)) == verdicts


WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TURNS = [
    {"role": "user", "content": "Is it cold in Oslo?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "-20 degrees"},
]


@pytest.fixture
def agent(make_proxy):
    return make_proxy(
        audit={"share": 1.0, "budget_usd": 1}, large={"max_output_tokens": 100}, small={"tools": True}
    )


def ask_agent(proxy):
    with proxy.client() as client:
        return client.chat.completions.create(model="cope", messages=TURNS, tools=WEATHER)


@pytest.mark.parametrize(("verdict", "agreed"), [("No.", 0), ("Yes.", 1)])
def test_agent_texts_are_judged(agent, small_server, large_server, verdict, agreed):
    """Both models answer rather than call, one of them wrongly: the local text is judged."""
    small_server.say("It is warm there.")
    large_server.script(
        {"match": {"contains": "It is warm there."}, "reply": {"content": verdict}},
        {"reply": {"content": "It is very cold."}},
    )
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["task"], row["agreed"]) == ("agent", agreed)
    compared, judged = (entry["body"] for entry in large_server.chats())
    assert compared["messages"] == TURNS
    assert "tools" in compared
    assert judged["messages"][:-2] == TURNS
    assert "tools" not in judged
    paid = wait_until(
        lambda: len(r := agent.rows("SELECT id, mode, tags FROM requests WHERE mode = 'audit'")) == 2 and r,
        "both paid requests",
    )
    assert row["id"] in {r["id"] for r in paid}
    assert all("cope-audit=agent" in r["tags"] for r in paid)


def test_text_differs_from_call(agent, small_server, large_server):
    """That is seen without a verdict, which is not paid for."""
    small_server.say("It is warm there.")
    large_server.script({"reply": {"tool_calls": [{"name": "weather", "arguments": {}}]}})
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["agreed"], len(large_server.chats())) == (0, 1)


def test_textual_calls_are_read(agent, small_server, large_server):
    """As the small model's are: behind a server that does not know its form, all its calls come as text."""
    small_server.script({"reply": {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}})
    large_server.say('```json\n{"name": "weather", "arguments": {"city": "Oslo"}}\n```')
    ask_agent(agent)
    (row,) = rows(agent, 1)
    assert (row["agreed"], len(large_server.chats())) == (1, 1)
