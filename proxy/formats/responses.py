"""POST /v1/responses. Source: OpenAI API reference, "Responses" and its "Streaming".

The cascade answers text, function tools and structured output as a chat (`responses_translate`, `responses_render`).
Everything else, such as hosted tools, goes to the large model unchanged.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.cascade import prompts
from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks
from proxy.formats.base import CallLimits, LocalAnswer, without_guideline
from proxy.formats.chat import LEAST_USEFUL_OUTPUT
from proxy.formats.chunked import priority
from proxy.formats.responses_render import response, response_events
from proxy.formats.responses_translate import as_chat, input_items
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import responses_bound, usage_from

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
        """Whether the response is complete."""
        return self.finish_reason is not None

    @property
    def generated(self) -> str:
        """The text and the arguments so far."""
        return "".join(self._parts)


class Responses:
    """See `proxy.formats.base.Conversation`."""

    path = "/responses"
    end_event: bytes | None = None
    events_are_named = True
    model_is_optional = True
    is_free = False

    def check(self, body: Json) -> None:
        """Check the input and the fields that limit the answer."""
        given = body.get("input")
        items = isinstance(given, list) and all(isinstance(i, dict) for i in given)
        # A conversation or a stored prompt may have the whole input. The upstream checks whether there is one.
        if not (given is None or isinstance(given, str) or items):
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
                "'background' is not supported, because the cost of such a response is known only after its "
                "request has ended. Stream it instead.",
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
        return as_chat(body)

    def with_guideline(self, body: Json, guideline: str) -> dict[str, Any]:
        """Append the guideline to the input."""
        items = input_items(body)
        note = {"role": "user", "content": prompts.WITH_GUIDELINE.format(guideline=guideline)}
        return {**body, "input": [*items, note]}

    def unbounded_cost(self, body: Json) -> str | None:
        """Name fees that are not per token, and tools that call the model again."""
        hosted = next(
            (t.get("type") for t in body.get("tools") or () if t.get("type") not in _OWN_TOOLS), None
        )
        return f"the tool {str(hosted)[:40]!r}" if hosted else priority(body)

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body as it is. A response always reports its usage."""
        return dict(body)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Apply the client's limit, or the default."""
        asked = body.get("max_output_tokens") or default_output
        return CallLimits(asked=asked, least=min(asked, LEAST_USEFUL_OUTPUT), field="max_output_tokens")

    def count(self, model: str, body: Json) -> int:
        """Count input, instructions, tools and formats."""
        return responses_bound(model, body)

    def read_complete(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read a `response`."""
        if not isinstance(decoded["output"], list):
            raise TypeError("output is not an array")
        return _read(decoded)

    def tally(self) -> ResponsesTally:
        """Return an empty tally."""
        return ResponsesTally()

    def is_final_chunk(self, chunk: Json) -> bool:
        """Return True for the event that ends the response."""
        return chunk.get("type") in _ENDS

    def sends_final_chunk(self, body: Json) -> bool:
        """Return True: this event is part of every stream."""
        return True

    def with_facts(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Add the facts to a response, or to the event that contains it, and correct the usage."""
        if answer.get("type") in _ENDS:
            return {**answer, "response": self.with_facts(answer["response"], plan_tokens, facts)}
        return without_guideline(
            answer, plan_tokens, prompt="input_tokens", output="output_tokens", facts=facts
        )

    def render(self, body: Json, local: LocalAnswer) -> bytes:
        """Render a `response`."""
        return msgspec.json.encode(response(body, local))

    def events(self, body: Json, local: LocalAnswer) -> Iterator[bytes]:
        """Render the events of a response."""
        return response_events(body, local)


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
