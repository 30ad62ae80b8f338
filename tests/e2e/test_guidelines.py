"""Guidelines through the front door: one is paid for if samples disagree, and planned ahead if they look like it."""

import json
from concurrent.futures import ThreadPoolExecutor

from tests.support.cascade import USAGE, ask
from tests.support.wait import wait_until


def test_guideline_makes_stage_2_agree(proxy, small_server, large_server):
    """Disagreement pays for one guideline; agreement under it ends there, with that one paid call."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
        {"match": {"contains": "Guideline: multiply"}, "reply": {"content": "\\boxed{42}"}},
        {"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}},
    )
    large_server.script({"reply": {"content": "multiply", "usage": USAGE}})
    with proxy.client() as client:
        answer = ask(client)
    assert answer.cope["stage"] == 2
    assert len(large_server.chats()) == 1
    second = [e["body"] for e in small_server.log() if "Guideline: multiply" in json.dumps(e["body"])]
    assert second
    assert all("Goal: Find it." in json.dumps(body) for body in second)


def test_guideline_is_planned_ahead(make_proxy, small_server, large_server):
    """The large planner is asked while late samples are still held at a gate; its plan is then the one used."""
    replies = [{"content": f"\\boxed{{{n}}}", **({"release": "late"} if n > 2 else {})} for n in range(1, 5)]
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
        {"match": {"contains": "Guideline: multiply"}, "reply": {"content": "\\boxed{42}"}},
        {"match": {"contains": "Goal:"}, "reply": replies},
    )
    large_server.script({"reply": {"content": "multiply", "usage": USAGE}})
    proxy = make_proxy(cascade={"samples": 4, "speculate_from": 0.5, "early_stop": False})
    with ThreadPoolExecutor(1) as threads, proxy.client() as client:
        asked = threads.submit(ask, client)
        wait_until(lambda: len(large_server.chats()) == 1, "the guideline to be asked for")
        assert small_server.state()["waiting"]
        small_server.open_gate("late")
        answer = asked.result()
    assert answer.cope["stage"] == 2
    assert len(large_server.chats()) == 1


def test_unneeded_plan_is_recorded(make_proxy, small_server, large_server):
    """The samples agree after all: the answer is local, the planner's call ends, and its cost is on record."""
    late = {"content": "\\boxed{42}", "release": "late"}
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
        {"match": {"contains": "Goal:"}, "reply": [{"content": "\\boxed{1}"}, late, late, late]},
    )
    large_server.script({"reply": {"content": "multiply", "release": "never"}})
    proxy = make_proxy(cascade={"samples": 4, "speculate_from": 0.1, "early_stop": False})
    with ThreadPoolExecutor(1) as threads, proxy.client() as client:
        asked = threads.submit(ask, client)
        wait_until(lambda: len(large_server.chats()) == 1, "the guideline to be asked for")
        small_server.open_gate("late")
        answer = asked.result()
    assert answer.cope["stage"] == 1
    large_server.wait_idle()
    calls = proxy.http().get(f"/v1/spend/requests/{answer.cope['request_id']}").json()["calls"]
    planned = [c for c in calls if c["tier"] == "large"]
    assert [c["estimated"] for c in planned] == [True]
    assert planned[0]["cost"] > 0


def test_planner_may_need_no_guideline(proxy, small_server, large_server):
    """The word none is no guideline: there is no stage 2 to sample for, and stage 3 is asked without one."""
    small_server.say(*(f"\\boxed{{{i}}}" for i in range(4)))
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "None."}},
        {"reply": {"content": "\\boxed{42}"}},
    )
    with proxy.client() as client:
        answer = ask(client)
    assert answer.cope["stage"] == 3
    assert [s["stage"] for s in answer.cope["stages"]] == [1]
    assert "Guideline:" not in json.dumps(large_server.chats()[-1]["body"])
