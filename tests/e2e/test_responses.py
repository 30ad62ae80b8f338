"""The Responses API: the SDK's own way, conversations that go on, and no hole in a budget."""

import asyncio
import json

import openai
import pydantic
import pytest

from tests.support.config import LARGE_MODEL

pytestmark = pytest.mark.slow

ASK = "Say hello to the team."
DIRECT = f"direct/{LARGE_MODEL}"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class City(pydantic.BaseModel):
    """What the structured question asks for."""

    name: str
    people: int


def test_a_local_response(proxy, small_server, large_server):
    """Text, usage and facts, and nothing goes upstream."""
    small_server.say("Hello team.")
    answer = proxy.client().responses.create(model="cope", input=ASK, instructions="Be short.")
    assert answer.output_text == "Hello team."
    assert answer.usage.input_tokens > 0
    assert answer.cope["stage"] == 1
    assert large_server.log() == []
    assert {"role": "system", "content": "Be short."} in small_server.chats()[0]["body"]["messages"]


@pytest.mark.parametrize("model", ["cope", DIRECT])
def test_stream_helper_sums_up(proxy, small_server, large_server, model):
    """`.stream()` accepts every event, whoever answers."""
    for server in (small_server, large_server):
        server.say("Hello dear team, how are you?")
    with proxy.client().responses.stream(model=model, input=ASK) as stream:
        deltas = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert deltas == final.output_text == "Hello dear team, how are you?"
    assert final.cope["stage"] == (1 if model == "cope" else 3)


def test_parse_with_pydantic(proxy, small_server):
    """`.parse()` sends its schema as a text format, which the small model gets as a response format."""
    small_server.say('{"name": "Paris", "people": 2}')
    answer = proxy.client().responses.parse(model="cope", input="Describe Paris.", text_format=City)
    assert answer.output_parsed == City(name="Paris", people=2)
    assert small_server.chats()[-1]["body"]["response_format"]["json_schema"]["name"] == "City"


def test_async_client_reads_raw_responses(proxy, small_server):
    """The async SDK, and headers of a raw response."""
    small_server.say("Hello team.")

    async def run():
        async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x", max_retries=0) as client:
            raw = await client.responses.with_raw_response.create(model="cope", input=ASK)
            chat = await client.chat.completions.with_raw_response.create(
                model="cope", messages=[{"role": "user", "content": ASK}]
            )
            stream = await client.responses.create(model="cope", input=ASK, stream=True)
            kinds = [e.type async for e in stream]
        return raw, chat, kinds

    raw, chat, kinds = asyncio.run(run())
    assert raw.parse().output_text == chat.parse().choices[0].message.content == "Hello team."
    assert raw.headers["x-cope-stage"] == chat.headers["x-cope-stage"] == "1"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_conversation_continues_by_id(proxy, small_server, large_server):
    """A local answer is continued with all that was said; upstream it goes as a whole, for it knows no local ids."""
    small_server.say("I am Ann.")
    client = proxy.client()
    first = client.responses.create(model="cope", input="Who are you?", instructions="Be polite.")
    second = client.responses.create(model="cope", input="And where?", previous_response_id=first.id)
    said = json.dumps(small_server.chats()[-1]["body"]["messages"])
    assert all(text in said for text in ("Who are you?", "I am Ann.", "And where?"))
    assert "Be polite." not in said  # instructions do not carry over, says the API
    assert second.previous_response_id == first.id
    client.responses.create(model=DIRECT, input="Really?", previous_response_id=second.id)
    body = large_server.log()[-1]["body"]
    assert "previous_response_id" not in body
    assert [i["role"] for i in body["input"]] == ["user", "assistant", "user", "assistant", "user"]


def test_upstream_conversation_stays_upstream(proxy, small_server, large_server):
    """Its own ids pass through."""
    client = proxy.client()
    first = client.responses.create(model=DIRECT, input="Who are you?")
    again = client.responses.create(model="cope", input="And where?", previous_response_id=first.id)
    assert large_server.log()[-1]["body"]["previous_response_id"] == first.id
    assert again.cope["reason"] == "previous_response_id"
    assert small_server.chats() == []


def test_store_false_keeps_nothing(proxy, small_server):
    """Store = false: the answer says so, nothing is in the database, and its id leads nowhere."""
    client = proxy.client()
    answer = client.responses.create(model="cope", input="A secret.", store=False)
    assert answer.store is False
    assert proxy.rows("SELECT * FROM responses WHERE id = ?", answer.id) == []
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="cope", input="Go on.", previous_response_id=answer.id)
    assert e.value.code == "previous_response_not_found"


def test_nobody_continues_another_keys_conversation(make_proxy, small_server, large_server):
    """A known id of somebody else is as good as none, local or upstream."""
    proxy = make_proxy()
    ann, bob = (proxy.client(proxy.cli("keys", "create", n).stdout.strip()) for n in ("ann", "bob"))
    for model in ("cope", DIRECT):
        first = ann.responses.create(model=model, input=ASK)
        with pytest.raises(openai.BadRequestError) as e:
            bob.responses.create(model=model, input="Go on.", previous_response_id=first.id)
        assert e.value.code == "previous_response_not_found"


def test_tools_and_their_outputs(make_proxy, small_server, large_server):
    """A tool loop runs at stage 1: call, output, answer."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find it."}},
        {"match": {"contains": "sunny"}, "reply": {"content": "It is sunny."}},
        {"reply": {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}},
    )
    client = make_proxy(small={"tools": True}).client()
    first = client.responses.create(model="cope", input="Weather in Paris?", tools=[TOOL])
    call = next(i for i in first.output if i.type == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(
        model="cope", input=[output], tools=[TOOL], previous_response_id=first.id
    )
    assert second.output_text == "It is sunny."
    assert large_server.log() == []


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/v1/responses", {"input": ASK, "tools": [{"type": "web_search"}]}, "web_search"),
        ("/v1/responses", {"input": ASK, "tools": [{"type": "code_interpreter"}]}, "code_interpreter"),
        ("/v1/responses", {"input": ASK, "service_tier": "priority"}, "priority"),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ("/v1/responses", {"input": ASK, "prompt": {"id": "pmpt_1"}}, "prompt"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": ASK}], "documents": [{"text": "word " * 5000}]},
            "documents",
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": ASK}], "tools": [{"type": "web_search"}]},
            "web_search",
        ),
        ("/v1/completions", {"prompt": ASK, "prompt_embeds": "x"}, "prompt_embeds"),
        ("/v1/embeddings", {"input": ASK, "input_type": "query"}, "input_type"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": ASK}], "web_search_options": {}},
            "web_search_options",
        ),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": ASK}],
                "prediction": {"type": "content", "content": "x"},
            },
            "prediction",
        ),
    ],
)
def test_unbounded_requests_need_no_budget(proxy, large_server, path, body, problem):
    """A fee that no token count shows would be a hole in the budget; without one the request passes."""
    http = proxy.http()
    refused = http.post(path, json={"model": DIRECT, **body}, headers={"X-COPE-Budget-USD": "1"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "unbounded_cost"
    assert problem in refused.json()["error"]["message"]
    assert large_server.log() == []
    assert http.post(path, json={"model": DIRECT, **body}).status_code == 200


def test_one_event_is_a_stream(proxy, large_server):
    """A stream that consists of its last event arrives, and is recorded at its usage."""
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage}
    event = json.dumps({"type": "response.completed", "response": response})
    large_server.script({"reply": {"raw_body": f"event: response.completed\ndata: {event}\n\n"}})
    answered = proxy.http().post("/v1/responses", json={"model": DIRECT, "input": ASK, "stream": True})
    assert answered.status_code == 200
    assert "response.completed" in answered.text
    assert '"cost_usd":"0.0000525"' in answered.text


def test_background_responses_are_refused(proxy):
    """They would be paid for after their request has ended."""
    with pytest.raises(openai.BadRequestError, match="background"):
        proxy.client().responses.create(model="cope", input=ASK, background=True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": ASK}]}),
        ("/v1/responses", {"input": ASK}),
        ("/v1/completions", {"prompt": ASK, "max_tokens": 1000}),
        ("/v1/embeddings", {"input": ASK * 100}),
    ],
)
def test_every_endpoint_is_budgeted(proxy, large_server, path, body):
    """Each of them is refused where its worst case does not fit, before anything goes out."""
    headers = {"X-COPE-Budget-USD": "0.00001", "X-COPE-On-Budget": "fail"}
    response = proxy.http().post(path, json={"model": DIRECT, **body}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")
    assert large_server.log() == []


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_local_embeddings_are_refused(proxy, large_server, path):
    """Max stage 1 forbids the upstream, and nobody else can answer these."""
    body = {"model": "cope", "prompt": "a", "input": "a"}
    response = proxy.http().post(path, json=body, headers={"X-COPE-Max-Stage": "1"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "small_model_cannot_serve"
    assert large_server.log() == []


@pytest.mark.parametrize("given", [{"model": DIRECT}, {"headers": {"X-COPE-Mode": "large"}}, {"input": None}])
def test_forbidden_models_are_refused(proxy, large_server, given):
    """Max stage 1 forbids the large model to a request that asks for it, or that only it can answer."""
    body = {"input": ASK, **{k: v for k, v in given.items() if k != "headers"}}
    headers = {"X-COPE-Max-Stage": "1", **given.get("headers", {})}
    response = proxy.http().post("/v1/responses", json=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "small_model_cannot_serve"
    assert large_server.log() == []


def test_remembered_context_is_budgeted(proxy, large_server):
    """A long conversation that is continued by its id is bounded with all its earlier tokens."""
    usage = {"prompt_tokens": 90_000, "completion_tokens": 10_000}
    large_server.script({"reply": {"usage": usage, "extra": {"id": "resp_long"}}})
    client = proxy.client()
    first = client.responses.create(model=DIRECT, input=ASK)
    sent = {"model": DIRECT, "input": "Go on.", "previous_response_id": first.id, "max_output_tokens": 100}
    headers = {"X-COPE-On-Budget": "fail"}
    # 100,000 tokens at 2.50 USD a million are 0.25 USD before a new word is said.
    with pytest.raises(openai.RateLimitError):
        client.responses.create(**sent, extra_headers={**headers, "X-COPE-Budget-USD": "0.25"})
    assert client.responses.create(**sent, extra_headers={**headers, "X-COPE-Budget-USD": "0.26"})
    unknown = {**sent, "previous_response_id": "resp_of_somebody"}
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(**unknown, extra_headers={**headers, "X-COPE-Budget-USD": "0.26"})
