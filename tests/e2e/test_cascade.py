"""The cascade through the front door: a scripted pair of models over real sockets, the real SDK as client."""

import json
from decimal import Decimal

import pytest

from tests.support.cascade import MATH, USAGE, ask, goals_and


def test_stage_1_agreement_stays_local(proxy, small_server, large_server):
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
def test_different_texts_differ_beside_tools(
    make_proxy, small_server, large_server, question, answers, stage
):
    """With tools on offer, different answers in text escalate, and equivalent ones are accepted."""
    small_server.script(*goals_and(*answers))
    large_server.say("It is 42.")
    with make_proxy(small={"tools": True}).client() as client:
        answer = ask(client, question, tools=TOOLS)
    assert (answer.cope["task"], answer.cope["stage"]) == ("agent", stage)


def test_early_stop_saves_samples(proxy, small_server):
    """With n = 4 and a threshold of 0.75, three agreeing samples close the ballot."""
    small_server.script(*goals_and("\\boxed{42}"))
    with proxy.client() as client:
        stage = ask(client).cope["stages"][0]
    assert (stage["drawn"], stage["of"], stage["agreed"], stage["accepted"]) == (3, 4, 3, True)


def test_votes_beside_confidence(proxy, small_server):
    """Header, body and ledger give the counts, and say that the confidence is a bound after an early stop."""
    small_server.script(*goals_and("\\boxed{42}"))
    with proxy.client() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="cope", messages=[{"role": "user", "content": MATH}]
        )
    cope = raw.parse().cope
    assert raw.headers["x-cope-votes"] == "3 of 3 drawn agree, 4 planned"
    assert cope["votes"] == {"agreed": 3, "drawn": 3, "planned": 4, "bound": True}
    shown = proxy.cli("requests", "show", cope["request_id"]).stdout
    assert "3 of 3 drawn agree, 4 planned, confidence at least 0.75" in shown


def test_surest_open_answer_wins(proxy, small_server):
    """Open text counts by its least likely run of words: a bad guess is not outweighed by a long and easy rest."""
    steady = "".join(f"steady{i} " for i in range(40))
    even = {"content": steady, "logprob": -0.35}
    easy = {
        "content": "".join(f"easy{i} " for i in range(36)) + "guess " * 4,
        "logprob": -0.01,
        "logprob_of": {"guess": -3.0},
    }
    small_server.script({"reply": [easy, even]})
    with proxy.client() as client:
        answer = ask(client, "Tell me about the sea.", extra_headers={"X-COPE-Threshold": "0.5"})
    assert answer.choices[0].message.content == steady
    assert (answer.cope["task"], answer.cope["stage"]) == ("open", 1)
    assert answer.cope["confidence"] == pytest.approx(0.705, abs=0.01)


@pytest.mark.parametrize("stream", [False, True])
def test_disagreement_reaches_stage_3(proxy, small_server, large_server, stream):
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
    calls = large_server.chats()
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


def test_large_mode_passes_through(proxy, small_server, large_server):
    """Mode large asks only the upstream, with the client's own messages."""
    large_server.script({"reply": {"content": "hi", "usage": USAGE}})
    with proxy.client() as client:
        answer = ask(client, extra_headers={"X-COPE-Mode": "large"})
    assert answer.choices[0].message.content == "hi"
    assert answer.usage.prompt_tokens == 1000
    assert small_server.chats() == []
    body = large_server.chats()[0]["body"]
    assert body["messages"] == [{"role": "user", "content": MATH}]
    assert body["max_tokens"] > 0


def test_images_go_to_large_model(proxy, small_server, large_server):
    """What the small model cannot do is answered at stage 3, with the reason on record."""
    large_server.script({"reply": {"content": "a cat"}})
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with proxy.client() as client:
        answer = ask(client, question=[{"type": "text", "text": "What is this?"}, part])
    assert answer.cope["stage"] == 3
    assert answer.cope["reason"] == "image_url input"
    assert small_server.chats() == []


@pytest.mark.parametrize("mode", ["cascade", "large"])
def test_developer_messages_become_system_messages(proxy, small_server, large_server, mode):
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


def test_only_upstream_key_goes_upstream(proxy, large_server):
    """The upstream sees the proxy's key; the client's own never leaves."""
    large_server.script({"reply": {"content": "hi"}})
    with proxy.client() as client:
        ask(client, extra_headers={"X-COPE-Mode": "large"})
    sent = json.dumps(large_server.chats()[0]["headers"])
    assert "sk-upstream-secret" in sent
    assert client.api_key not in sent


def test_disconnect_cancels_local_samples(proxy, small_server):
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


def test_disconnected_stream_is_billed(proxy, large_server):
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


def test_unavailable_small_tier_escalates(make_proxy, large_server):
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


def test_closed_connection_is_retried(proxy, small_server, large_server):
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
