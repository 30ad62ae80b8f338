"""The stand-in speaks OpenAI's protocol, as the official SDKs hear it."""

import json

import openai
import pytest

from tests.support.config import SMALL_MODEL
from tests.support.posting import ASK, only, posting
from tests.support.wait import exchange

PARIS = {"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}


def test_plain_answer_counts_words(large_server):
    """A plain answer has the scripted text, and usage in words."""
    large_server.script(
        {
            "reply": {
                "content": "it is Paris",
                "usage_details": {"prompt_tokens_details": {"cached_tokens": 2}},
            }
        }
    )
    got = large_server.client().chat.completions.create(**ASK)
    assert got.choices[0].message.content == "it is Paris"
    assert got.choices[0].finish_reason == "stop"
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (3, 3, 6)
    assert got.usage.prompt_tokens_details.cached_tokens == 2


def test_default_reply(large_server):
    """Without a rule that matches, the answer is "ok"."""
    large_server.script({"match": {"contains": "giraffe"}, "reply": {"content": "no"}})
    assert large_server.client().chat.completions.create(**ASK).choices[0].message.content == "ok"


def test_stream_is_openais(large_server):
    """A stream has role, words, finish, usage with no choices, and [DONE]."""
    large_server.say("it is Paris")
    with posting(
        large_server, {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    ) as connection:
        raw = connection.getresponse().read().decode()
    *chunks, done = [line.removeprefix("data: ") for line in raw.strip().split("\n\n")]
    chunks = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert [delta["content"] for delta in deltas[1:-1]] == ["it ", "is ", "Paris"]
    assert deltas[-1] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 5
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_sdk_reads_stream_with_usage(large_server):
    """The SDK puts a stream together, with usage only where it was asked for."""
    large_server.say("it is Paris")
    client = large_server.client()
    with client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "it is Paris"
    assert chunks[-1].usage.total_tokens == 6
    with client.chat.completions.create(**ASK, stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_continuous_usage_as_vllm(small_server):
    """With `continuous_usage_stats` each chunk tells what was used so far."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    small_server.say("a b")
    with small_server.client().chat.completions.create(
        **{**ASK, "model": SMALL_MODEL}, stream=True, stream_options=options
    ) as stream:
        assert [chunk.usage.completion_tokens for chunk in stream] == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_only_when_asked(small_server, stream):
    """Each token has the scripted log-probability, when the request asks for any."""
    small_server.say("a b", logprob=-0.5)
    client = small_server.client()

    def logprobs(**more):
        got = client.chat.completions.create(**{**ASK, "model": SMALL_MODEL}, stream=stream, **more)
        choices = [chunk.choices[0] for chunk in got] if stream else [got.choices[0]]
        return [token.logprob for choice in choices if choice.logprobs for token in choice.logprobs.content]

    assert logprobs(logprobs=True) == [-0.5, -0.5]
    assert logprobs() == []
    small_server.say("a b", logprob=None)
    assert logprobs(logprobs=True) == []


def test_n_choices_in_turn(large_server):
    """Contents are served one for each choice, round robin over requests."""
    large_server.say("a", "b", "c")
    client = large_server.client()
    assert [c.message.content for c in client.chat.completions.create(**ASK, n=2).choices] == ["a", "b"]
    with client.chat.completions.create(**ASK, n=2, stream=True) as stream:
        texts = {0: "", 1: ""}
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "c", 1: "a"}


def test_replies_and_nth(large_server):
    """A list of replies is served in turn, and `nth` picks one request."""
    large_server.script(
        {"match": {"nth": 2}, "reply": {"content": "second"}},
        {
            "match": {"contains": ["three", "small"], "not_contains": "large", "stream": False},
            "reply": [{"content": "a"}, {"content": "b"}],
        },
    )
    client = large_server.client()
    assert [client.chat.completions.create(**ASK).choices[0].message.content for _ in range(3)] == [
        "a",
        "second",
        "b",
    ]


def test_token_limit_cuts(large_server):
    """An answer longer than the limit is cut, as a model's is."""
    large_server.say("one two three")
    got = large_server.client().chat.completions.create(**ASK, max_completion_tokens=2)
    assert got.choices[0].finish_reason == "length"
    assert got.choices[0].message.content == "one two "
    assert got.usage.completion_tokens == 2


def test_tools_are_streamed_in_pieces(large_server):
    """The arguments of a tool call come in several chunks, which the SDK's helper puts together."""
    large_server.script({"reply": {"tool_calls": [PARIS, {"name": "now"}]}})
    client = large_server.client()
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    with client.chat.completions.stream(**ASK, tools=tools) as stream:
        pieces = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        got = stream.get_final_completion().choices[0]
    assert len(pieces) > 3
    assert got.finish_reason == "tool_calls"
    first, second = got.message.tool_calls
    assert json.loads(first.function.arguments) == PARIS["arguments"]
    assert (first.function.name, second.function.name, second.function.arguments) == (
        "get_weather",
        "now",
        "{}",
    )
    plain = client.chat.completions.create(**ASK, tools=tools).choices[0].message
    assert plain.content is None
    assert [call.function.arguments for call in plain.tool_calls] == [first.function.arguments, "{}"]


def test_usage_can_be_left_out(large_server):
    """An upstream that reports no usage exists."""
    large_server.say("a", omit_usage=True)
    client = large_server.client()
    assert client.chat.completions.create(**ASK).usage is None
    with client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}) as stream:
        assert all(chunk.usage is None for chunk in stream)


def test_raw_body_and_extra(large_server):
    """A body can be nonsense, and a completion can have fields that nobody knows."""
    large_server.script(
        {"match": {"nth": 1}, "reply": {"extra": {"system_fingerprint": "fp_1"}}},
        {"reply": {"raw_body": "<html>"}},
    )
    client = large_server.client()
    assert client.chat.completions.create(**ASK).system_fingerprint == "fp_1"
    with posting(large_server, ASK) as connection:
        assert connection.getresponse().read() == b"<html>"


def test_models_and_health(small_server, large_server):
    """The models are listed, with the context's size by a vLLM; unknown ones are a 404."""
    assert only(small_server.client().models.list().data).max_model_len == 4096
    client = large_server.client()
    assert [model.id for model in client.models.list()] == ["big-model", "other-model"]
    assert client.models.retrieve("other-model").id == "other-model"
    for call in (
        lambda: client.models.retrieve("x"),
        lambda: client.chat.completions.create(**{**ASK, "model": "x"}),
    ):
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            call()
    assert exchange(large_server.url, "GET", "/health") is None
    assert (
        len(client.embeddings.create(model="big-model", input=["a", "b"], encoding_format="float").data) == 2
    )


@pytest.mark.node
def test_node_sdk(large_server, node_chat):
    """The Node SDK understands the stand-in in every scenario."""
    large_server.script(
        {"match": {"contains": "weather"}, "reply": {"tool_calls": [PARIS]}},
        {"match": {"contains": "capital"}, "reply": {"content": '{"name": "Paris", "country": "France"}'}},
        {"match": {"nth": 3}, "reply": {"status": 503, "headers": {"retry-after": "9"}}},
    )
    got = {
        name: node_chat(large_server.base_url, name, "big-model", "sk-upstream-secret")
        for name in ("plain", "stream", "tools", "structured", "error")
    }
    assert got["plain"]["content"] == got["stream"]["content"] == "ok"
    assert got["stream"]["usage"] == got["plain"]["usage"]
    assert json.loads(got["tools"]["tool_calls"][0]["function"]["arguments"]) == PARIS["arguments"]
    assert got["structured"]["parsed"] == {"name": "Paris", "country": "France"}
    assert (got["error"]["name"], got["error"]["status"], got["error"]["retry_after"]) == (
        "InternalServerError",
        503,
        "9",
    )
