"""Chat completions as OpenAI writes them, whole and in chunks.

Source: OpenAI API reference, "Chat completions", "Streaming"; and vLLM's `continuous_usage_stats`.
"""

import json
import re
import time
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tests.support.standin.prompt_cache import CachedPrompt
from tests.support.standin.script import Json, Reply

ARGUMENT_PIECE = 6
"""Characters of a tool call's arguments in one chunk."""


class Answer:
    """The answer to one request."""

    def __init__(
        self, seq: int, body: Json, reply: Reply, texts: list[str | None], prompt: CachedPrompt | None = None
    ) -> None:
        self._body = body
        self._prompt = prompt
        self._reply = reply
        self._head = {
            "id": f"chatcmpl-standin-{seq}",
            "created": int(time.time()),
            "model": body.get("model") or "stand-in",
        }
        self._calls = [_tool_call(call, f"call_{seq}_{i}") for i, call in enumerate(reply.tool_calls)]
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        whole = [re.findall(r"\S+\s*|\s+", text or "") for text in texts]
        self._pieces = [pieces[:limit] for pieces in whole]
        self._finish = [
            reply.finish_reason
            or ("length" if len(pieces) > len(cut) else "tool_calls" if self._calls else "stop")
            for pieces, cut in zip(whole, self._pieces, strict=True)
        ]

    @staticmethod
    def choices(body: Json) -> int:
        """Return how many answers a request asks for."""
        return int(body.get("n") or 1)

    def name(self, event: str) -> str | None:
        """Return the name of an event; chunks have none."""
        return None

    def reported(self, event: Json) -> Json | None:
        """Return the usage that an event reports."""
        return event.get("usage")

    def usage(self, made: int | None = None) -> Json | None:
        """Count words as tokens; `made` words of completion so far, else all of them."""
        return None if self._reply.omit_usage else self.billed(made)

    def billed(self, made: int | None = None) -> Json:
        """Count what has to be paid for; `made` pieces of completion so far, at most all of them."""
        called = sum(words(json.dumps(call["function"])) for call in self._calls) * len(self._pieces)
        whole = sum(map(len, self._pieces)) + called
        made = whole if made is None else min(made, whole)
        cached = self._prompt
        prompt = prompt_words(self._body) if cached is None else cached.tokens
        counted: Json = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
        if cached is not None:
            details = {"cached_tokens": cached.read, "cache_write_tokens": cached.written}
            counted["prompt_tokens_details"] = {**details, "audio_tokens": 0}
        return {**(self._reply.usage or counted), **self._reply.usage_details}

    def completion(self) -> Json:
        """Return the whole answer."""
        choices = [
            {
                "index": index,
                "message": self._message("".join(pieces)),
                "logprobs": self._logprobs(pieces),
                "finish_reason": finish,
            }
            for index, (pieces, finish) in enumerate(zip(self._pieces, self._finish, strict=True))
        ]
        usage = self.usage()
        answer = {**self._head, "object": "chat.completion", "choices": choices}
        return {**answer, **({} if usage is None else {"usage": usage}), **self._reply.extra}

    def events(self) -> Iterator[str]:
        """Yield the payload of each event of the stream; the choices take turns."""
        options = self._body.get("stream_options") or {}
        with_usage = bool(options.get("include_usage"))
        continuous = with_usage and bool(options.get("continuous_usage_stats"))
        made = 0
        for choice in (
            c for turn in zip_longest(*map(self._choice, range(len(self._pieces)))) for c in turn if c
        ):
            made += "content" in choice["delta"] and choice["delta"].get("role") is None
            chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
            yield json.dumps(
                {
                    **chunk,
                    **({"usage": self.usage(made) if continuous else None} if with_usage else {}),
                    **self._reply.extra,
                }
            )
        if with_usage and (usage := self.usage()) is not None:
            last: Json = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
            yield json.dumps({**last, **self._reply.extra})
        yield "[DONE]"

    def _message(self, text: str) -> Json:
        content = text or (None if self._calls else "")
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        return {**message, "tool_calls": self._calls} if self._calls else message

    def _choice(self, index: int) -> Iterator[Json]:
        pieces = self._pieces[index]
        empty = "" if pieces or not self._calls else None
        yield self._delta(index, {"role": "assistant", "content": empty, "refusal": None})
        for piece in pieces:
            yield self._delta(index, {"content": piece}, logprobs=self._logprobs([piece]))
        for number, call in enumerate(self._calls):
            yield self._delta(index, {"tool_calls": [{"index": number, **_opened(call)}]})
            for part in re.findall(rf"(?s).{{1,{ARGUMENT_PIECE}}}", call["function"]["arguments"]):
                yield self._delta(index, {"tool_calls": [{"index": number, "function": {"arguments": part}}]})
        yield self._delta(index, {}, finish=self._finish[index])

    def _delta(
        self, index: int, delta: Json, *, logprobs: Json | None = None, finish: str | None = None
    ) -> Json:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, pieces: list[str]) -> Json | None:
        value = self._reply.logprob
        if value is None or not self._body.get("logprobs"):
            return None
        tokens = [
            {
                "token": p,
                "logprob": self._reply.logprob_of.get(p.strip(), value),
                "bytes": list(p.encode()),
                "top_logprobs": [],
            }
            for p in pieces
        ]
        return {"content": tokens, "refusal": None}


class Completion(Answer):
    """The answer to POST /v1/completions. Source: OpenAI API reference, "Completions"."""

    @staticmethod
    def choices(body: Json) -> int:
        """Return n for each prompt."""
        prompt = body.get("prompt")
        return int(body.get("n") or 1) * (len(prompt) if isinstance(prompt, list) else 1)

    def completion(self) -> Json:
        """Return the whole answer."""
        choices = [
            {"index": i, "text": "".join(pieces), "logprobs": None, "finish_reason": finish}
            for i, (pieces, finish) in enumerate(zip(self._pieces, self._finish, strict=True))
        ]
        usage = self.usage()
        answer = {**self._head, "object": "text_completion", "choices": choices}
        return {**answer, **({} if usage is None else {"usage": usage}), **self._reply.extra}

    def events(self) -> Iterator[str]:
        """Yield the payload of each event."""
        with_usage = bool((self._body.get("stream_options") or {}).get("include_usage"))
        head = {**self._head, "object": "text_completion", **({"usage": None} if with_usage else {})}
        for i, (pieces, finish) in enumerate(zip(self._pieces, self._finish, strict=True)):
            for piece in pieces:
                choice = {"index": i, "text": piece, "logprobs": None, "finish_reason": None}
                yield json.dumps({**head, "choices": [choice], **self._reply.extra})
            last = {"index": i, "text": "", "logprobs": None, "finish_reason": finish}
            yield json.dumps({**head, "choices": [last], **self._reply.extra})
        if with_usage and (usage := self.usage()) is not None:
            yield json.dumps({**head, "choices": [], "usage": usage, **self._reply.extra})
        yield "[DONE]"


class Response(Answer):
    """The answer to POST /v1/responses. Source: OpenAI API reference, "Responses" and its "Streaming"."""

    @staticmethod
    def choices(body: Json) -> int:
        """Return 1: a response has no choices."""
        return 1

    def name(self, event: str) -> str | None:
        """Return the type of an event, which is also its name."""
        return str(json.loads(event)["type"])

    def reported(self, event: Json) -> Json | None:
        """Return the usage in the event that ends the response."""
        return (event.get("response") or {}).get("usage")

    def billed(self, made: int | None = None) -> Json:
        """Count in the words of this endpoint."""
        counted, cached = super().billed(made), self._prompt
        return {
            "input_tokens": counted["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": 0 if cached is None else cached.read,
                "cache_write_tokens": 0 if cached is None else cached.written,
            },
            "output_tokens": counted["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counted["prompt_tokens"] + counted["completion_tokens"],
        }

    def completion(self) -> Json:
        """Return the whole response."""
        cut = self._finish[0] == "length"
        body = self._body
        return {
            "id": f"resp_{self._head['id']}",
            "object": "response",
            "created_at": self._head["created"],
            "status": "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "background": bool(body.get("background")),
            "instructions": body.get("instructions"),
            "metadata": body.get("metadata") or {},
            "model": self._head["model"],
            "output": self._output(),
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0,
            "usage": self.usage(),
            **self._reply.extra,
        }

    def events(self) -> Iterator[str]:
        """Yield the payload of each event."""
        done = self.completion()
        begun = {k: v for k, v in done.items() if k != "usage"}
        begun |= {"status": "in_progress", "output": [], "incomplete_details": None}
        plain: list[Json] = [{"type": "response.created", "response": begun}]
        for i, item in enumerate(done["output"]):
            at = {"item_id": item["id"], "output_index": i}
            plain.append(
                {"type": "response.output_item.added", "output_index": i, "item": {**item, "content": []}}
            )
            if item["type"] == "message":
                part = item["content"][0]
                at["content_index"] = 0
                plain.append({"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
                plain += [
                    {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
                    for piece in self._pieces[0]
                ]
                plain.append(
                    {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
                )
                plain.append({"type": "response.content_part.done", **at, "part": part})
            else:
                text = item["arguments"]
                plain.append({"type": "response.function_call_arguments.delta", **at, "delta": text})
                plain.append(
                    {
                        "type": "response.function_call_arguments.done",
                        **at,
                        "arguments": text,
                        "name": item["name"],
                    }
                )
            plain.append({"type": "response.output_item.done", "output_index": i, "item": item})
        plain.append({"type": f"response.{done['status']}", "response": done})
        for number, event in enumerate(plain):
            yield json.dumps({**event, "sequence_number": number})

    def _output(self) -> list[Json]:
        items: list[Json] = []
        if self._pieces[0] or not self._calls:
            text = {
                "type": "output_text",
                "text": "".join(self._pieces[0]),
                "annotations": [],
                "logprobs": [],
            }
            message = {"id": "msg_standin", "type": "message", "status": "completed", "role": "assistant"}
            items.append({**message, "content": [text]})
        for i, call in enumerate(self._calls):
            named = {"id": f"fc_standin_{i}", "type": "function_call", "status": "completed"}
            items.append({**named, "call_id": call["id"], **call["function"]})
        return items


class Compaction(Response):
    """The answer to POST /v1/responses/compact. Source: OpenAI API reference, "Compact a response"."""

    def completion(self) -> Json:
        """Return the compacted items."""
        summary = {
            "id": "cmp_standin",
            "type": "compaction",
            "encrypted_content": "".join(self._pieces[0]),
            "created_by": None,
        }
        return {
            "id": f"resp_{self._head['id']}",
            "object": "response.compaction",
            "created_at": self._head["created"],
            "output": [summary],
            "usage": self.usage(),
            **self._reply.extra,
        }


def words(text: str) -> int:
    """Count the tokens of a text: one is a word."""
    return len(text.split())


def prompt_words(body: Json) -> int:
    """Count the words of all messages."""
    given = body.get("input") or body.get("prompt")
    if given:
        return words(json.dumps(given)) + words(body.get("instructions") or "")
    return sum(_content_words(message.get("content")) for message in body.get("messages") or ())


def _content_words(content: Any) -> int:
    if isinstance(content, str):
        return words(content)
    return sum(words(part.get("text") or "") for part in content or ())


def _tool_call(call: Json, made_up_id: str) -> Json:
    function = call.get("function") or {"name": call["name"], "arguments": call.get("arguments", {})}
    if not isinstance(function["arguments"], str):
        function = {**function, "arguments": json.dumps(function["arguments"])}
    return {"id": call.get("id", made_up_id), "type": "function", "function": function}


def _opened(call: Json) -> Json:
    return {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
