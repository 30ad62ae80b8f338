"""No client can tell it from OpenAI: answers equal the upstream's own, and local ones have the published shape."""

import json

import pytest

from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY
from tests.support.corpus import FUNCTION, chats, responses
from tests.support.openai_schemas import problems
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn

pytestmark = pytest.mark.slow

CHATS, RESPONSES = dict(chats()), dict(responses())
CALL = {"id": "call_9", "name": "get_weather", "arguments": {"city": "Paris"}}
# The same ids and times in each answer, so that two of them can be compared as they stand.
FIXED = {
    "id": "x-1",
    "created": 1700000000,
    "created_at": 1700000000,
    "system_fingerprint": "fp_1",
    "service_tier": "default",
}
RULES = (
    {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
    {"match": {"contains": "tell another assistant"}, "reply": {"content": "Look closely."}},
    {"match": {"contains": "as JSON"}, "reply": {"content": '{"name": "Paris"}', "extra": FIXED}},
    {
        "match": {"contains": "weather", "not_contains": "sunny"},
        "reply": {"tool_calls": [CALL], "extra": FIXED},
    },
    {"reply": {"content": "The sea is deep and wide.", "extra": FIXED}},
)


@pytest.fixture(scope="module")
def small():
    with StandIn([SMALL_MODEL], max_model_len=4096) as server:
        server.script(*RULES)
        yield server


@pytest.fixture(scope="module")
def large():
    with StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as server:
        server.script(*RULES)
        yield server


@pytest.fixture(scope="module")
def proxy(small, large, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    with ProxyProcess(folder, small.base_url, large.base_url, small={"tools": True}) as process:
        yield process


def chunks(response):
    """The decoded events of a stream; `[DONE]` as text."""
    assert response.headers["content-type"].startswith("text/event-stream")
    data = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    return [d if d == "[DONE]" else json.loads(d) for d in data]


def without_facts(answer):
    out = {k: v for k, v in answer.items() if k != "cope"}
    return {**out, "response": without_facts(out["response"])} if "response" in out else out


def ask(http, path, body, **headers):
    response = http.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response


def own(large, path, body):
    """What the upstream itself answers to a client of its own."""
    import httpx2

    return ask(httpx2, large.base_url + path, body, Authorization=f"Bearer {UPSTREAM_KEY}")


@pytest.mark.parametrize(
    ("path", "shapes"), [("/chat/completions", CHATS), ("/responses", RESPONSES)], ids=["chat", "responses"]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_direct_answers_are_unchanged(proxy, large, path, shapes, stream):
    """Field by field and chunk by chunk; what the client sent is what the upstream got, but for the output's bound."""
    with proxy.http() as http:
        for name, shape in shapes.items():
            body = {**shape, "stream": stream}
            theirs = own(large, path, {**body, "model": LARGE_MODEL})
            ours = ask(http, "/v1" + path, {**body, "model": f"direct/{LARGE_MODEL}"})
            if stream:
                assert [c if c == "[DONE]" else without_facts(c) for c in chunks(ours)] == chunks(theirs), (
                    name
                )
            else:
                assert without_facts(ours.json()) == theirs.json(), name
            sent, got = (entry["body"] for entry in large.log()[-2:])
            bounds = {"max_tokens", "max_completion_tokens", "max_output_tokens", "stream_options"}
            assert {k: v for k, v in got.items() if k not in bounds} == {
                k: v for k, v in sent.items() if k not in bounds
            }, name
            assert (got.get("stream_options") or {}).items() >= (sent.get("stream_options") or {}).items()
    assert len(CHATS) >= 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_chats_match_the_specification(proxy, stream):
    """Every shape is answered, and every answer and chunk is what OpenAI's documents say."""
    stages = set()
    with proxy.http() as http:
        for name, shape in CHATS.items():
            response = ask(http, "/v1/chat/completions", {**shape, "model": "cope", "stream": stream})
            stages.add(response.headers["x-cope-stage"])
            if not stream:
                assert problems("CreateChatCompletionResponse", response.json()) == [], name
                continue
            *answer, done = chunks(response)
            assert done == "[DONE]"
            for chunk in answer:
                assert problems("CreateChatCompletionStreamResponse", chunk) == [], name
            asked = bool((shape.get("stream_options") or {}).get("include_usage"))
            assert [bool(c.get("usage")) for c in answer][-1] is asked, name
            finished = [c["index"] for chunk in answer for c in chunk["choices"] if c["finish_reason"]]
            assert sorted(finished) == list(range(shape.get("n") or 1)), name
    assert {"1", "3"} <= stages


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_responses_match_the_specification(proxy, stream):
    """The same for responses, local ones and passed ones."""
    stages = set()
    with proxy.http() as http:
        for name, shape in RESPONSES.items():
            answer = ask(http, "/v1/responses", {**shape, "model": "cope", "stream": stream})
            stages.add(answer.headers["x-cope-stage"])
            if not stream:
                assert problems("Response", without_facts(answer.json())) == [], name
                continue
            events = chunks(answer)
            for event in events:
                assert problems("ResponseStreamEvent", without_facts(event)) == [], name
            assert [e["sequence_number"] for e in events] == list(range(len(events)))
            names = [line[7:] for line in answer.text.split("\n") if line.startswith("event: ")]
            assert names == [e["type"] for e in events]
            assert events[-1]["type"] in ("response.completed", "response.incomplete")
    assert {"1", "3"} <= stages


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "prompt",
    ["Once upon", ["Once", "Twice"], [1, 2, 3], [[1, 2], [3]]],
    ids=["text", "texts", "ids", "id lists"],
)
def test_completions_are_passed_on(proxy, large, prompt, stream):
    """The old endpoint answers as the upstream does, and is in the ledger."""
    body = {"prompt": prompt, "stream": stream, "n": 2}
    theirs = own(large, "/completions", {**body, "model": LARGE_MODEL, "max_tokens": 16})
    with proxy.http() as http:
        ours = ask(http, "/v1/completions", {**body, "model": "cope"})
        if stream:
            assert chunks(ours) == chunks(theirs)
        else:
            assert without_facts(ours.json()) == theirs.json()
            assert problems("CreateCompletionResponse", ours.json()) == []
        story = http.get(f"/v1/spend/requests/{ours.headers['x-cope-request-id']}").json()
    assert story["request"]["cost"] == sum(c["cost"] for c in story["calls"]) > 0
    assert large.log()[-1]["body"]["max_tokens"] == 16


@pytest.mark.parametrize("given", ["a text", ["a", "b"], [1, 2]], ids=["text", "texts", "ids"])
def test_embeddings_are_passed_on(proxy, large, given):
    """Embeddings equal the upstream's, and their input is paid for."""
    theirs = own(large, "/embeddings", {"model": LARGE_MODEL, "input": given})
    with proxy.http() as http:
        ours = ask(http, "/v1/embeddings", {"model": LARGE_MODEL, "input": given})
        story = http.get(f"/v1/spend/requests/{ours.headers['x-cope-request-id']}").json()
    assert without_facts(ours.json()) == theirs.json()
    assert problems("CreateEmbeddingResponse", ours.json()) == []
    assert ours.json()["cope"]["cost_usd"] == story["request"]["cost_usd"] != "0"


def test_tools_translate_between_apis(proxy, small):
    """A response's tool reaches the small model in the form that chat completions have."""
    with proxy.http() as http:
        tool = {"type": "function", **FUNCTION, "strict": True}
        answer = ask(
            http, "/v1/responses", {"model": "cope", "input": "How is the weather in Paris?", "tools": [tool]}
        )
    call = next(i for i in answer.json()["output"] if i["type"] == "function_call")
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
    sent = next(e["body"] for e in reversed(small.log()) if (e["body"] or {}).get("tools"))
    assert sent["tools"] == [{"type": "function", "function": {**FUNCTION, "strict": True}}]
