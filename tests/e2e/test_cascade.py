"""The cascade through the front door: a scripted pair of models over real sockets, the real SDK as client."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.support.wait import wait_until

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def ask(client, question=MATH, **extra):
    return client.chat.completions.create(
        model="cope", messages=[{"role": "user", "content": question}], **extra
    )


def goals_and(*answers):
    """Script a small tier that writes goals and gives these answers in turn."""
    return (
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the product."}},
        {"reply": {"contents": list(answers)}},
    )


def paid_calls(server):
    return [e for e in server.log() if e["path"].endswith("/chat/completions")]


def test_agreement_at_stage_1_sends_nothing_upstream(proxy, small_server, large_server):
    """When the small samples agree, the answer is theirs and the upstream sees no connection."""
    small_server.script(*goals_and("It is \\boxed{42}."))
    before = large_server.state()["connections_opened"]
    with proxy.client() as client:
        answer = ask(client)
    assert answer.choices[0].message.content == "It is \\boxed{42}."
    assert answer.cope["stage"] == 1
    assert answer.cope["task"] == "math"
    assert answer.cope["cost_usd"] == "0"
    assert Decimal(answer.cope["baseline_usd"]) > 0
    assert large_server.state()["connections_opened"] == before


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("question", "answers", "stage"),
    [
        (MATH, ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"], 3),
        (MATH, ["It is 42.", "\\boxed{42}", "So 42.0", "The answer is 42."], 1),
        ("Tell me about the sea.", ["Wide.", "Deep.", "Blue.", "Salty."], 3),
        ("Tell me about the sea.", ["Wide."] * 4, 1),
    ],
)
def test_texts_beside_tools_agree_only_when_they_say_the_same(
    make_proxy, small_server, large_server, question, answers, stage
):
    """With tools on offer, different answers in text escalate, and equivalent ones are accepted."""
    small_server.script(*goals_and(*answers))
    large_server.say("It is 42.")
    with make_proxy(small={"tools": True}).client() as client:
        answer = ask(client, question, tools=TOOLS)
    assert (answer.cope["task"], answer.cope["stage"]) == ("agent", stage)


def test_early_stop_draws_only_what_the_verdict_needs(proxy, small_server):
    """With n = 4 and a threshold of 0.75, three agreeing samples close the ballot."""
    small_server.script(*goals_and("\\boxed{42}"))
    with proxy.client() as client:
        stage = ask(client).cope["stages"][0]
    assert (stage["drawn"], stage["of"], stage["agreed"], stage["accepted"]) == (3, 4, 3, True)


def test_the_surest_open_answer_is_the_one_without_a_weak_stretch(proxy, small_server):
    """Open text counts by its least likely run of words: a bad guess is not outweighed by a long and easy rest."""
    even = {"content": "steady " * 40, "logprob": -0.35}
    easy = {"content": "easy " * 36 + "guess " * 4, "logprob": -0.01, "logprob_of": {"guess": -3.0}}
    small_server.script({"reply": [easy, even]})
    with proxy.client() as client:
        answer = ask(client, "Tell me about the sea.", extra_headers={"X-COPE-Threshold": "0.5"})
    assert answer.choices[0].message.content == "steady " * 40
    assert (answer.cope["task"], answer.cope["stage"]) == ("open", 1)
    assert answer.cope["confidence"] == pytest.approx(0.705, abs=0.01)


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
    assert len(paid_calls(large_server)) == 1
    second = [e["body"] for e in small_server.log() if "Guideline: multiply" in json.dumps(e["body"])]
    assert second
    assert all("Goal: Find it." in json.dumps(body) for body in second)


@pytest.mark.parametrize("stream", [False, True])
def test_disagreement_walks_all_stages_with_two_paid_calls(proxy, small_server, large_server, stream):
    """1 -> 2 -> 3 makes exactly two paid calls, and the cost is the same number everywhere."""
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "multiply", "usage": USAGE}},
        {"reply": {"content": "It is 42.", "usage": USAGE}},
    )
    with proxy.client() as client:
        if stream:
            chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            cope = chunks[-1].cope
        else:
            raw = client.chat.completions.with_raw_response.create(
                model="cope", messages=[{"role": "user", "content": MATH}]
            )
            answer = raw.parse()
            text, cope = answer.choices[0].message.content, answer.cope
            assert raw.headers["x-cope-cost-usd"] == cope["cost_usd"]
            assert raw.headers["x-cope-stage"] == "3"
    assert text == "It is 42."
    calls = paid_calls(large_server)
    assert len(calls) == 2
    assert "Guideline: multiply" in json.dumps(calls[1]["body"])
    assert "Goal:" not in json.dumps(calls[1]["body"])
    # 2 calls x (1000 x 2.50 + 100 x 10) / 10^6 USD
    assert cope["cost_usd"] == "0.007"
    with proxy.http() as http:
        story = http.get(f"/v1/spend/requests/{cope['request_id']}").json()
    assert story["request"]["cost"] == sum(c["cost"] for c in story["calls"]) == 7_000_000
    assert story["request"]["cost_usd"] == "0.007"
    began = {c["role"]: c["started_at"] for c in story["calls"] if c["tier"] == "large"}
    assert story["request"]["started_at"] <= began["planner"] < began["executor"]
    shown = proxy.cli("requests", "show", cope["request_id"])
    assert "0.007" in shown.stdout, shown.stderr


def test_large_mode_passes_the_answer_through(proxy, small_server, large_server):
    """Mode large asks only the upstream, with the client's own messages."""
    large_server.script({"reply": {"content": "hi", "usage": USAGE}})
    with proxy.client() as client:
        answer = ask(client, extra_headers={"X-COPE-Mode": "large"})
    assert answer.choices[0].message.content == "hi"
    assert answer.usage.prompt_tokens == 1000
    assert small_server.log() == []
    body = paid_calls(large_server)[0]["body"]
    assert body["messages"] == [{"role": "user", "content": MATH}]
    assert body["max_completion_tokens"] > 0


@pytest.mark.parametrize(
    "headers",
    [{"X-COPE-Budget-USD": "0"}, {"X-COPE-Max-Stage": "1"}, {"X-COPE-Mode": "small"}],
)
def test_local_only_requests_open_no_connection_upstream(proxy, small_server, large_server, headers):
    """Budget 0, max stage 1 and mode small never reach the upstream, although the samples disagree."""
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    before = large_server.state()["connections_opened"]
    with proxy.client() as client:
        answer = ask(client, extra_headers=headers)
    assert answer.choices[0].message.content
    assert large_server.state()["connections_opened"] == before


def test_budget_that_holds_only_the_guideline_degrades(proxy, small_server, large_server):
    """When stage 3 does not fit, the best local answer comes back, marked, within the budget."""
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    large_server.script(
        {
            "reply": {
                "content": "multiply",
                "usage": {"prompt_tokens": 200, "completion_tokens": 96, "total_tokens": 296},
            }
        }
    )
    with proxy.client() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="cope",
            messages=[{"role": "user", "content": MATH}],
            extra_headers={"X-COPE-Budget-USD": "0.002"},
        )
    assert raw.headers["x-cope-degraded"] == "budget"
    assert len(paid_calls(large_server)) == 1
    assert Decimal(raw.headers["x-cope-cost-usd"]) <= Decimal("0.002")


def test_budget_fail_is_insufficient_quota(proxy, small_server):
    """X-COPE-On-Budget: fail turns the same case into a 429 that SDKs do not retry."""
    import openai

    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"))
    with proxy.client() as client, pytest.raises(openai.RateLimitError) as e:
        ask(client, extra_headers={"X-COPE-Budget-USD": "0.000001", "X-COPE-On-Budget": "fail"})
    assert e.value.code == "insufficient_quota"
    assert e.value.response.headers["x-should-retry"] == "false"


def test_output_is_cut_to_what_the_budget_holds(proxy, large_server):
    """The bound sent upstream is what the budget pays for."""
    large_server.script(
        {
            "reply": {
                "content": "hi",
                "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22},
            }
        }
    )
    with proxy.client() as client:
        ask(client, extra_headers={"X-COPE-Mode": "large", "X-COPE-Budget-USD": "0.01"})
    sent = paid_calls(large_server)[0]["body"]["max_completion_tokens"]
    assert 64 <= sent <= 1000


def test_session_budget_is_shared_by_its_requests(proxy, large_server):
    """A session's second request finds what the first one left, and is refused when that is nothing."""
    import openai

    large_server.script({"reply": {"content": "hi", "usage": USAGE}})
    headers = {"X-COPE-Mode": "large", "X-COPE-Session": "s-1", "X-COPE-Session-Budget-USD": "0.004"}
    with proxy.client() as client:
        assert ask(client, extra_headers=headers, max_tokens=100).cope["budget_remaining_usd"] == "0.0005"
        with pytest.raises(openai.RateLimitError):
            ask(client, extra_headers=headers, max_tokens=100)
    assert len(paid_calls(large_server)) == 1


def test_images_go_straight_to_the_large_model(proxy, small_server, large_server):
    """What the small model cannot do is answered at stage 3, with the reason on record."""
    large_server.script({"reply": {"content": "a cat"}})
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with proxy.client() as client:
        answer = ask(client, question=[{"type": "text", "text": "What is this?"}, part])
    assert answer.cope["stage"] == 3
    assert answer.cope["reason"] == "image_url input"
    assert small_server.log() == []


@pytest.mark.parametrize("mode", ["cascade", "large"])
def test_a_developers_message_is_a_systems_for_the_small_model(proxy, small_server, large_server, mode):
    """Chat templates of open models know no developers; OpenAI's own models do."""
    said = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "Say hello."}]
    proxy.client().chat.completions.create(model="cope", messages=said, extra_headers={"X-COPE-Mode": mode})
    server, role = (small_server, "system") if mode == "cascade" else (large_server, "developer")
    assert {e["body"]["messages"][0]["role"] for e in server.chats()} == {role}


def test_streamed_local_answer_is_whole(proxy, small_server):
    """A local answer streams as role, deltas, finish and usage, and adds up to the sample."""
    small_server.script(*goals_and("After some thought it is surely \\boxed{42}."))
    with proxy.client() as client:
        chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "After some thought it is surely \\boxed{42}."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].cope["stage"] == 1


def test_upstream_key_is_used_and_clients_key_is_not(proxy, large_server):
    """The upstream sees the proxy's key; the client's own never leaves."""
    large_server.script({"reply": {"content": "hi"}})
    with proxy.client() as client:
        ask(client, extra_headers={"X-COPE-Mode": "large"})
    sent = json.dumps(paid_calls(large_server)[0]["headers"])
    assert "sk-upstream-secret" in sent
    assert client.api_key not in sent


def test_sessions_belong_to_the_key_that_opened_them(make_proxy, large_server):
    """Another key's session is refused, and its budget is not touched."""
    import openai

    proxy = make_proxy()
    ann, bob = (proxy.cli("keys", "create", name).stdout.strip() for name in ("ann", "bob"))
    headers = {"X-COPE-Mode": "large", "X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"}
    ask(proxy.client(ann), extra_headers=headers, max_tokens=100)
    with pytest.raises(openai.BadRequestError, match="another key"):
        ask(proxy.client(bob), extra_headers=headers, max_tokens=100)


def test_a_client_that_leaves_cancels_the_local_samples(proxy, small_server):
    """When the connection closes while samples run, the small tier sees them go, and the row says so."""
    import httpx2

    small_server.script({"reply": {"content": "a b c d", "stall_after": 2}})
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{proxy.base_url}/chat/completions",
            json={"model": "cope", "messages": [{"role": "user", "content": MATH}]},
            timeout=1,
        )
    small_server.wait_idle()
    assert all(e["disconnected"] for e in small_server.chats())
    with proxy.http() as http:
        last = http.get("/v1/spend/requests?limit=1").json()["data"][0]
        story = http.get(f"/v1/spend/requests/{last['id']}").json()
    assert story["request"]["status"] == 499
    assert {c["finish_reason"] for c in story["calls"]} == {"cancelled"}


def test_a_client_that_leaves_a_paid_stream_is_still_billed_in_the_ledger(proxy, large_server):
    """The upstream connection closes soon after the client's, and what was used is counted."""
    large_server.script({"reply": {"content": "a b c d e f g h", "stall_after": 4}})
    client = proxy.client()
    stream = ask(client, stream=True, extra_headers={"X-COPE-Mode": "large"})
    next(iter(stream))
    stream.close()
    large_server.wait_idle()
    with proxy.http() as http:
        last = http.get("/v1/spend/requests?limit=1").json()["data"][0]
        story = http.get(f"/v1/spend/requests/{last['id']}").json()
    assert story["calls"][0]["estimated"] is True
    assert story["request"]["cost"] > 0


def test_while_the_small_tier_is_down_requests_escalate_and_say_so(make_proxy, large_server):
    """small.on_unavailable = escalate: stage 3 answers, with the reason on record."""
    proxy = make_proxy(small_url="http://127.0.0.1:9/v1")
    assert ask(proxy.client()).cope["reason"] == "small tier unavailable"


@pytest.mark.node
@pytest.mark.parametrize("scenario", ["plain", "stream"])
def test_the_node_sdk_works_unchanged(proxy, small_server, node_chat, scenario):
    """OpenAI's Node SDK gets the same local answer, whole and streamed."""
    small_server.say("hello from the small one")
    got = node_chat(proxy.base_url, scenario)
    assert got["content"] == "hello from the small one"


def test_a_guideline_is_planned_ahead_when_an_escalation_is_likely(make_proxy, small_server, large_server):
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
        wait_until(lambda: len(paid_calls(large_server)) == 1, "the guideline to be asked for")
        assert small_server.state()["waiting"]
        small_server.open_gate("late")
        answer = asked.result()
    assert answer.cope["stage"] == 2
    assert len(paid_calls(large_server)) == 1


def test_a_plan_ahead_that_is_not_needed_is_dropped_and_accounted_for(make_proxy, small_server, large_server):
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
        wait_until(lambda: len(paid_calls(large_server)) == 1, "the guideline to be asked for")
        small_server.open_gate("late")
        answer = asked.result()
    assert answer.cope["stage"] == 1
    large_server.wait_idle()
    calls = proxy.http().get(f"/v1/spend/requests/{answer.cope['request_id']}").json()["calls"]
    planned = [c for c in calls if c["tier"] == "large"]
    assert [c["estimated"] for c in planned] == [True]
    assert planned[0]["cost"] > 0


@pytest.mark.parametrize("budget", ["0", "0.000001", "0.01", "1"])
def test_a_budget_never_changes_an_answer_that_is_accepted_locally(proxy, small_server, large_server, budget):
    """Whatever the request may spend, the answer and its stage are those of a request without a budget."""
    small_server.script(*goals_and("\\boxed{42}"))
    with proxy.client() as client:
        free = ask(client)
        limited = ask(client, extra_headers={"X-COPE-Budget-USD": budget})
    assert (limited.cope["stage"], limited.choices[0].message.content) == (1, free.choices[0].message.content)
    assert limited.cope["confidence"] == free.cope["confidence"]
    assert not large_server.chats()


def test_a_planner_that_needs_no_plan_leads_straight_to_the_answer(proxy, small_server, large_server):
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


def test_a_connection_that_the_small_server_had_closed_costs_nothing(proxy, small_server, large_server):
    """Servers close idle connections, also just when they are used again: the sample is drawn once more, not paid for upstream."""
    planner, executor = goals_and("\\boxed{42}")
    small_server.script(
        {"match": {"contains": "Goal:", "nth": 1}, "reply": {"content": "\\boxed{42}", "break_after": 0}},
        planner,
        executor,
    )
    with proxy.client() as client:
        answers = [ask(client) for _ in range(2)]
    assert [a.cope["stage"] for a in answers] == [1, 1]
    assert not large_server.chats()
