"""Chat completions in OpenAI's shape: a local sample rendered, an upstream's answer amended."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from proxy.cascade.types import Sample
from proxy.service.request import ChatRequest

WORDS_PER_CHUNK = 4


class Reply(Protocol):
    """The way back to the client. All of it waits while the client is slow."""

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response."""
        ...

    async def open(self, headers: Mapping[str, str]) -> None:
        """Start a stream; a second call does nothing."""
        ...

    async def event(self, data: bytes) -> None:
        """Send one event of an open stream."""
        ...

    async def close(self) -> None:
        """End an open stream."""
        ...


def completion(request: ChatRequest, sample: Sample, model: str, usage: object, facts: object) -> bytes:
    """Render a local sample as a `chat.completion`."""
    choice = {
        "index": 0,
        "message": sample.message,
        "logprobs": sample.logprobs if request.body.get("logprobs") else None,
        "finish_reason": sample.finish_reason,
    }
    head = _head(request, model, "chat.completion")
    return msgspec.json.encode({**head, "choices": [choice], "usage": usage, "cope": facts})


def chunks(request: ChatRequest, sample: Sample, model: str, usage: object, facts: object) -> Iterator[bytes]:
    """Render a local sample as `chat.completion.chunk` payloads: role, deltas, finish, usage if asked."""
    head = _head(request, model, "chat.completion.chunk")

    def chunk(delta: object, finish: str | None = None, logprobs: object = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return msgspec.json.encode({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": "" if sample.text else None, "refusal": None})
    if request.body.get("logprobs") and sample.logprobs:
        for token in sample.logprobs["content"]:
            yield chunk({"content": token["token"]}, logprobs={"content": [token], "refusal": None})
    else:
        words = sample.text.split(" ")
        for i in range(0, len(words) if sample.text else 0, WORDS_PER_CHUNK):
            yield chunk({"content": ("" if i == 0 else " ") + " ".join(words[i : i + WORDS_PER_CHUNK])})
    for i, call in enumerate(sample.message.get("tool_calls") or ()):
        yield chunk({"tool_calls": [{"index": i, **call}]})
    yield chunk({}, sample.finish_reason)
    if request.wants_usage:
        yield msgspec.json.encode({**head, "choices": [], "usage": usage, "cope": facts})


def with_facts(raw: bytes, facts: object) -> bytes:
    """Add the `cope` object to an upstream's completion without decoding it: its bytes pass through."""
    return raw.rstrip()[:-1] + b',"cope":' + msgspec.json.encode(facts) + b"}"


def usage_object(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Return OpenAI's `usage` object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _head(request: ChatRequest, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.id}",
        "object": kind,
        "created": int(request.received_at.timestamp()),
        "model": model,
    }
