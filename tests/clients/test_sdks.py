"""Unmodified OpenAI SDKs with only `base_url` changed: tools and structured output, whole and streamed."""

import json

import pydantic
import pytest

pytestmark = pytest.mark.slow

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}
QUESTION = [{"role": "user", "content": "Weather in Paris?"}]


class City(pydantic.BaseModel):
    """What the structured question asks for."""

    name: str
    people: int


@pytest.fixture
def with_tools(make_proxy):
    """A proxy whose small model calls tools."""
    return make_proxy(small={"tools": True})


@pytest.mark.parametrize("stream", [False, True])
def test_agreed_calls_stay_local(with_tools, small_server, large_server, stream):
    """Samples that name the same call with the same arguments are a majority; the SDK reads the call."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the weather."}},
        {"reply": {"tool_calls": [CALL]}},
    )
    client = with_tools.client()
    if stream:
        with client.chat.completions.stream(model="cope", messages=QUESTION, tools=[TOOL]) as events:
            message = events.get_final_completion().choices[0].message
    else:
        answer = client.chat.completions.create(model="cope", messages=QUESTION, tools=[TOOL])
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.cope["task"] == "agent"
        message = answer.choices[0].message
    assert message.tool_calls[0].function.name == "get_weather"
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Paris"}
    assert large_server.chats() == []


def test_toolless_model_escalates_tools(proxy, large_server):
    """With small.tools off the large model makes the call, and the reason is on record."""
    large_server.script({"reply": {"tool_calls": [CALL]}})
    answer = proxy.client().chat.completions.create(model="cope", messages=QUESTION, tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert "tools" in answer.cope["reason"]


def test_structured_answers_are_parsed(proxy, small_server):
    """`.parse()` with a Pydantic model gets the majority value, whatever the spacing of its JSON."""
    small_server.script(
        {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Describe Paris."}},
        {"reply": {"contents": ['{"name": "Paris", "people": 2}', '{"people":2,"name":"Paris"}']}},
    )
    answer = proxy.client().chat.completions.parse(
        model="cope", messages=[{"role": "user", "content": "Describe Paris."}], response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="Paris", people=2)
    assert answer.cope["task"] == "structured"
    assert answer.cope["stage"] == 1


@pytest.mark.node
def test_the_node_sdk_calls_tools(proxy, large_server, node_chat):
    """OpenAI's Node SDK gets a tool call through the cascade."""
    large_server.script({"reply": {"tool_calls": [CALL]}})
    assert "get_weather" in json.dumps(node_chat(proxy.base_url, "tools"))


@pytest.mark.node
def test_the_node_sdk_reads_errors(proxy, small_server, large_server, node_chat):
    """OpenAI's Node SDK raises its own error for the upstream's."""
    large_server.script(
        {"reply": {"status": 429, "error": {"message": "slow", "code": "rate_limit_exceeded"}}}
    )
    got = json.dumps(node_chat(proxy.base_url, "error", model="direct/big-model"))
    assert "429" in got


@pytest.mark.node
def test_node_sdk_parses_structures(proxy, small_server, node_chat):
    """OpenAI's Node SDK parses the majority's JSON."""
    small_server.say('{"name": "Paris", "country": "France"}')
    assert node_chat(proxy.base_url, "structured")["parsed"] == {"name": "Paris", "country": "France"}
