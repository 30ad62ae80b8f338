"""Small servers that differ from vLLM, through the front door: an answer of one of the models, never an error 500."""

import json

import pytest

from tests.support.odd import CHAT, CHAT_STREAM, changed, sse
from tests.support.wait import Json

pytestmark = pytest.mark.slow

MESSAGE = ("choices", 0, "message")
NO_CALLS = changed(CHAT, (*MESSAGE, "tool_calls"), None)
EMOJI = [
    {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": None}
    for token, logprob in (("Hi ", -0.1), ("\ufffd", None), ("\ufffd", float("-inf")), ("!", 0.5))
]
STREAM: list[Json] = [
    {"choices": [{"delta": {"content": "Hi 😀!"}, "logprobs": {"content": EMOJI}, "finish_reason": None}]},
    {
        "choices": [{"delta": None, "finish_reason": "eos_token"}],
        "usage": {"prompt_tokens": 3.0, "completion_tokens": None},
    },
]
USABLE = {
    "stream": sse(STREAM).decode(),
    "stream without end": sse(STREAM, done=False).decode(),
    "no finish reason": sse(STREAM[:1]).decode(),
    "object": json.dumps(NO_CALLS),
    "mark and parts": "\ufeff"
    + json.dumps(changed(NO_CALLS, (*MESSAGE, "content"), [{"type": "text", "text": "Hi there"}])),
    "usage of texts": json.dumps(changed(NO_CALLS, ("usage", "prompt_tokens"), "many")),
}
UNUSABLE = {
    "page": "<html>Sign in</html>",
    "nothing": "",
    "error": json.dumps({"error": "out of memory"}),
    "error in a stream": sse([*CHAT_STREAM[:2], {"error": {"message": "out of memory"}}]).decode(),
    "no choices": json.dumps({**CHAT, "choices": []}),
    "no message": json.dumps(changed(CHAT, MESSAGE, None) | {"usage": None}),
    "cut": sse(CHAT_STREAM[:2], done=False).decode(),
    "given up": sse([*CHAT_STREAM[:2], {"choices": [{"delta": {}, "finish_reason": "abort"}]}]).decode(),
}


def ask(proxy, model, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "Say hi to the team."}], **fields}
    return proxy.http().post("/v1/chat/completions", json=body)


def streamed(proxy, **fields):
    lines = ask(proxy, "small", stream=True, **fields).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("name", USABLE)
def test_usable_answers(proxy, small_server, name):
    """An answer that can be read is the client's answer, with the same text from a stream, and nothing is paid."""
    small_server.script({"reply": {"raw_body": USABLE[name]}})
    whole = ask(proxy, "small", logprobs=True)
    assert whole.status_code == 200, whole.text
    text = whole.json()["choices"][0]["message"]["content"]
    assert text in ("Hi there", "Hi 😀!")
    assert whole.json()["choices"][0]["finish_reason"] == "stop"
    assert streamed(proxy) == streamed(proxy, logprobs=True) == text


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_answers(proxy, small_server, name):
    """Anything else is no sample: the large model answers, or the client is told if it may not."""
    small_server.script({"reply": {"raw_body": UNUSABLE[name]}})
    escalated = ask(proxy, "cope")
    assert (escalated.status_code, escalated.json()["cope"]["stage"]) == (200, 3), escalated.text
    refused = ask(proxy, "small")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "small_model_cannot_serve")
