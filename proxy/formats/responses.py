"""POST /v1/responses. Source: OpenAI API reference, "Responses" and its "Streaming".

What is text, function tools and structured output goes through the cascade as a chat; the rest, hosted tools first of
all, goes to the large model in its own form.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.cascade import prompts
from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks
from proxy.formats.base import CallLimits, Local, NotServedError
from proxy.formats.chat import LEAST_USEFUL_OUTPUT, priority
from proxy.formats.responses_render import _item_events, response
from proxy.formats.responses_translate import _messages, _tool, _tool_choice
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import responses_bound, usage_from

LARGE_ONLY = (
    "conversation", "prompt", "context_management", "moderation", "top_logprobs", "image", "access_programs",
)  # fmt: skip
"""Fields that only the upstream can honour: a request with one goes straight to the large model."""
HINTS = frozenset(
    {
        "max_tool_calls", "metadata", "model", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "truncation", "user",
        "background", "background_options", "models",
    }
)  # fmt: skip
"""Fields that a local answer does not depend on."""
TRANSLATED = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "text", "temperature", "top_p", "max_output_tokens",
        "parallel_tool_calls", "include", "previous_response_id",
    }
)  # fmt: skip
"""Fields that have a form in chat completions."""
_HARMLESS_INCLUDES = frozenset({"reasoning.encrypted_content"})
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_DELTAS = (
    "response.output_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
    "response.reasoning_text.delta",
)


class ResponsesTally:
    """See `proxy.formats.base.Tally`."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.error: dict[str, Any] | None = None
        self.chunks = 0
        self._parts: list[str] = []

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event."""
        event: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        kind = event.get("type")
        if kind in _DELTAS and isinstance(event.get("delta"), str):
            self.chunks += 1
            self._parts.append(event["delta"])
        elif kind == "error":
            self.error = event
        elif kind in _ENDS and isinstance(response := event.get("response"), Mapping):
            self.usage, self.finish_reason, _ = _read(response)
        return event

    @property
    def complete(self) -> bool:
        """Whether the response has come to its end."""
        return self.finish_reason is not None

    @property
    def generated(self) -> str:
        """The text and the arguments so far."""
        return "".join(self._parts)


class Responses:
    """See `proxy.formats.base.Conversation`."""

    path = "/responses"
    farewell: bytes | None = None
    events_are_named = True

    def check(self, body: Json) -> None:
        """Check the input and the fields that bound the answer."""
        given = body.get("input")
        if not (
            isinstance(given, str) or (isinstance(given, list) and all(isinstance(i, dict) for i in given))
        ):
            raise bad_request(
                "'input' has to be a string or an array of objects.", param="input", code="invalid_type"
            )
        for i, item in enumerate(given if isinstance(given, list) else ()):
            _check_item(item, f"input[{i}]")
        checks.positive(body, ("max_output_tokens",))
        checks.typed(
            body, stream=bool, background=bool, store=bool, instructions=str, text=dict, reasoning=dict,
            previous_response_id=str, include=list,
        )  # fmt: skip
        checks.tools(body)
        if not all(isinstance(name, str) for name in body.get("include") or ()):
            raise bad_request("'include' has to hold strings.", param="include", code="invalid_type")
        if not isinstance((body.get("text") or {}).get("format") or {}, dict):
            raise bad_request("'text.format' has to be an object.", param="text.format", code="invalid_type")
        if body.get("background"):
            raise bad_request(
                "'background' is not supported: what such a response costs is known only after its request "
                "has ended. Stream it instead.",
                param="background",
                code="unsupported_parameter",
            )

    def prompt(self, body: Json) -> object:
        """Return the instructions and the input."""
        return {"instructions": body.get("instructions"), "input": body.get("input")}

    def streams(self, body: Json) -> bool:
        """Read `stream`."""
        return bool(body.get("stream"))

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Translate the input items, tools and formats."""
        for name in LARGE_ONLY:
            if body.get(name):
                raise NotServedError(name)
        if set(body.get("include") or ()) - _HARMLESS_INCLUDES:
            raise NotServedError("include")
        if body.get("previous_response_id"):
            raise NotServedError("previous_response_id")
        unknown = next((k for k, v in body.items() if v is not None and k not in HINTS | TRANSLATED), None)
        if unknown is not None:
            raise NotServedError(f"unknown parameter {unknown[:40]!r}")
        chat: dict[str, Any] = {"model": body["model"], "messages": _messages(body)}
        if body.get("tools"):
            chat["tools"] = [_tool(t) for t in body["tools"]]
            chat["tool_choice"] = _tool_choice(body.get("tool_choice"))
        wanted = (body.get("text") or {}).get("format") or {}
        if wanted.get("type") == "json_schema":
            named = {k: v for k, v in wanted.items() if k != "type"}
            chat["response_format"] = {"type": "json_schema", "json_schema": named}
        elif wanted.get("type") not in (None, "text"):
            chat["response_format"] = wanted
        same = {"temperature": "temperature", "top_p": "top_p", "parallel_tool_calls": "parallel_tool_calls"}
        same["max_output_tokens"] = "max_completion_tokens"
        return chat | {there: body[here] for here, there in same.items() if body.get(here) is not None}

    def guided(self, body: Json, guideline: str) -> dict[str, Any]:
        """Append the guideline to the input."""
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        note = {"role": "user", "content": prompts.WITH_GUIDELINE.format(guideline=guideline)}
        return {**body, "input": [*items, note]}

    def unbounded(self, body: Json) -> str | None:
        """Fees that are not paid by the token, and tools that call the model again."""
        hosted = next(
            (t.get("type") for t in body.get("tools") or () if t.get("type") not in _OWN_TOOLS), None
        )
        return f"the tool {str(hosted)[:40]!r}" if hosted else priority(body)

    def outgoing(self, body: Json) -> dict[str, Any]:
        """Pass the body on: a response always reports its usage."""
        return dict(body)

    def bound(self, body: Json, default_output: int) -> CallLimits:
        """Bound by the client's own limit, else the default."""
        asked = body.get("max_output_tokens") or default_output
        return CallLimits(asked, min(asked, LEAST_USEFUL_OUTPUT), "max_output_tokens")

    def count(self, model: str, body: Json) -> int:
        """Bound input, instructions, tools and formats."""
        return responses_bound(model, body)

    def whole(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read a `response`."""
        if not isinstance(decoded["output"], list):
            raise TypeError("output is no array")
        return _read(decoded)

    def tally(self) -> ResponsesTally:
        """Begin to add up events."""
        return ResponsesTally()

    def held_back(self, chunk: Json) -> bool:
        """Hold the event back that ends the response."""
        return chunk.get("type") in _ENDS

    def shown(self, body: Json) -> bool:
        """Show it always."""
        return True

    def last(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Amend the usage of a response, or of the event that holds it."""
        if answer.get("type") in _ENDS:
            return {**answer, "response": self.last(answer["response"], plan_tokens, facts)}
        out = {**answer, "cope": facts}
        if plan_tokens and answer.get("usage"):
            usage = dict(answer["usage"])
            usage["input_tokens"] = max(0, usage["input_tokens"] - plan_tokens)
            usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
            out["usage"] = usage
        return out

    def render(self, body: Json, local: Local) -> bytes:
        """Render a `response`."""
        return msgspec.json.encode(response(body, local))

    def events(self, body: Json, local: Local) -> Iterator[bytes]:
        """Render the events of a response: created, each item in its pieces, completed."""
        done = response(body, local)
        begun = {k: v for k, v in done.items() if k not in ("cope", "usage", "completed_at")}
        begun |= {"status": "in_progress", "output": [], "incomplete_details": None}
        plain = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            *(e for i, item in enumerate(done["output"]) for e in _item_events(i, item)),
            {"type": f"response.{done['status']}", "response": done},
        ]
        for number, event in enumerate(plain):
            yield msgspec.json.encode({**event, "sequence_number": number})


_OWN_TOOLS = frozenset({"function", "custom"})


def _read(answer: Mapping[str, Any]) -> tuple[Usage | None, str | None, str]:
    usage = usage_from(answer["usage"]) if answer.get("usage") else None
    incomplete = (answer.get("incomplete_details") or {}).get("reason")
    finish = "length" if incomplete == "max_output_tokens" else str(answer.get("status"))
    return usage, finish, msgspec.json.encode(answer.get("output") or []).decode()


def _check_item(item: Mapping[str, Any], where: str) -> None:
    kind = item.get("type", "message")
    content = item.get("content")
    if kind == "message":
        parts = isinstance(content, list) and all(isinstance(p, dict) for p in content)
        if not isinstance(item.get("role"), str) or not (isinstance(content, str) or parts):
            raise bad_request(
                f"'{where}' has to have a 'role', and a 'content' that is a string or an array of objects.",
                param=where,
                code="invalid_type",
            )
    elif not isinstance(kind, str):
        raise bad_request(f"'{where}.type' has to be a string.", param=f"{where}.type", code="invalid_type")
