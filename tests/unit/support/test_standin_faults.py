"""The stand-in fails as it is scripted: errors, broken connections and refused requests."""

import httpx2
import openai
import pytest

from tests.support.config import SMALL_MODEL
from tests.support.posting import ASK, only


def test_error_with_retry_after(large_server):
    """An error has OpenAI's shape and the scripted headers."""
    error = {"message": "slow down", "code": "rate_limit"}
    large_server.script({"reply": {"status": 429, "error": error, "headers": {"retry-after": "7"}}})
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        large_server.client().chat.completions.create(**ASK)
    assert caught.value.code == "rate_limit"
    assert caught.value.response.headers["retry-after"] == "7"
    assert only(large_server.chats())["status"] == 429


def test_error_inside_a_stream(large_server):
    """An error event after some chunks ends the stream."""
    large_server.say("a b c", error_after=2, error={"message": "fell over"})
    with large_server.client().chat.completions.create(**ASK, stream=True) as stream:
        assert next(stream).choices[0].delta.role == "assistant"
        assert next(stream).choices[0].delta.content == "a "
        with pytest.raises(openai.APIError, match="fell over"):
            next(stream)


def test_broken_stream(large_server):
    """A connection that is cut after some chunks has delivered exactly these."""
    large_server.say("a b c", break_after=3)
    seen = []
    with (
        large_server.client().chat.completions.create(**ASK, stream=True) as stream,
        pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)),
    ):
        seen += [chunk.choices[0].delta.content for chunk in iter(lambda: next(stream), None)]
    entry = only(large_server.chats())
    assert (entry["chunks"], entry["disconnected"]) == (3, False)


@pytest.mark.parametrize("stream", [False, True])
def test_broken_before_the_headers(large_server, stream):
    """A connection that is cut at once is a connection error."""
    large_server.say("a", break_after=0)
    with pytest.raises(openai.APIConnectionError):
        large_server.client().chat.completions.create(**ASK, stream=stream)
    large_server.wait_idle()


def test_wrong_key_is_masked(large_server):
    """OpenAI repeats part of a wrong key in its message, so secrets can leak that way."""
    with pytest.raises(
        openai.AuthenticationError, match=r"Incorrect API key provided: sk-wrong\*+1234"
    ) as caught:
        large_server.client("sk-wrong-key-1234").chat.completions.create(**ASK)
    assert caught.value.code == "invalid_api_key"


def test_context_overflow_as_vllm(small_server):
    """A prompt that does not fit into the context is a 400."""
    body = {"model": SMALL_MODEL, "messages": [{"role": "user", "content": "word " * 5000}]}
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens"):
        small_server.client().chat.completions.create(**body)


def test_unknown_rule_fields_are_refused(large_server):
    """A misspelt rule fails at once."""
    with pytest.raises(AssertionError, match="unknown field `contnet`"):
        large_server.script({"reply": {"contnet": "x"}})
