"""POST /v1/responses. Source: OpenAI API reference, "Responses" and its "Streaming".

The cascade answers text, function tools and structured output as a chat (`responses_translate`, `responses_render`).
Everything else, such as hosted tools, goes to the large model unchanged.
"""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

import msgspec

from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks, known_costs, prompt_cache
from proxy.formats.base import CallLimits, LocalAnswer, ReadAnswer, without_guideline
from proxy.formats.chat import LEAST_USEFUL_OUTPUT
from proxy.formats.generated import in_unicode, shown_text, texts
from proxy.formats.lenient import an_object, decode_object, members, mended, objects, with_members
from proxy.formats.responses_render import response, response_events
from proxy.formats.responses_translate import as_chat, input_items
from proxy.formats.schemas import check_schemas
from proxy.pricing.bounds import body_bound
from proxy.pricing.prices import Price, Usage
from proxy.pricing.reported import NOTHING_REPORTED, read_usage

_PLANNER_FIELDS = (
    "input", "instructions", "tools", "parallel_tool_calls", "reasoning", "truncation", "user", "safety_identifier",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
)  # fmt: skip
_ENDS = ("response.completed", "response.incomplete", "response.failed")


class ResponsesTally:
    """See `proxy.formats.base.Tally`."""

    def __init__(self) -> None:
        self.reported = NOTHING_REPORTED
        self.finish_reason: str | None = None
        self.error: dict[str, Any] | None = None
        self.chunks = 0
        self._deltas: list[str] = []
        self._items: list[str] = []
        self._output = ""
        self._ended = False

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event."""
        event = decode_object(data)
        kind = event.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind.endswith(".delta") and not kind.endswith("audio.delta"):
            self.chunks += 1
            self._deltas.extend(texts(event.get("delta")))
        elif kind == "response.output_item.done":
            self.chunks += 1
            self._items.extend(texts(event.get("item")))
        elif kind == "error":
            self.error = event
        elif kind in _ENDS:
            self._ended = True
            answer = _read(an_object(event.get("response")))
            self.reported, self.finish_reason = answer.reported, answer.finish_reason or kind[9:]
            self._output = answer.generated
        return event

    @property
    def final_usage(self) -> Usage | None:
        """The usage of the response. Only the event that ends it has one."""
        return self.reported.usage

    @property
    def complete(self) -> bool:
        """Whether the response is complete."""
        return self._ended

    @property
    def generated(self) -> str:
        """The text and the arguments so far. Servers repeat them in the items and at the end."""
        return max(in_unicode(self._deltas), in_unicode(self._items), self._output, key=len)


class Responses:
    """See `proxy.formats.base.Conversation`."""

    path = "/responses"
    end_event: bytes | None = None
    events_are_named = True
    model_is_optional = True
    is_conversation = True
    is_free = False
    unread = frozenset[str]()

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
        check_schemas(body)
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

    def with_text(self, body: Json, text: str, *, apart: bool) -> dict[str, Any]:
        """Add an item to the input. The last one may be no message, so it is never extended."""
        return {**body, "input": [*input_items(body), {"role": "user", "content": text}]}

    def with_breakpoints(self, body: Json, most: int) -> dict[str, Any]:
        """Mark the last part of each item that may be marked."""
        return {**body, "input": prompt_cache.marked_items(input_items(body), most)}

    def has_breakpoints(self, body: Json) -> bool:
        """Look into the items."""
        return prompt_cache.any_marked(input_items(body))

    def opening(self, body: Json) -> object | None:
        """Return the instructions, or else the first item of an input that has the whole conversation.

        A conversation that the upstream keeps does not show its first item in later turns.
        """
        items = input_items(body)
        instructions = list(takewhile(lambda i: i.get("role") in ("system", "developer"), items))
        if body.get("instructions") or instructions:
            return [body.get("instructions"), instructions]
        return items[:1] or None if body.get("store") is False else None

    def planner_body(self, body: Json, *, effort: str | None) -> tuple[dict[str, Any], bool]:
        """Keep the tools, which may not be called. A format of JSON is left out, because a guideline is plain text."""
        out = {name: body[name] for name in _PLANNER_FIELDS if body.get(name) is not None}
        if out.get("tools"):
            out["tool_choice"] = "none"
        if effort is not None and not (out.get("reasoning") or {}).get("effort"):
            out["reasoning"] = {**(out.get("reasoning") or {}), "effort": effort}
        text = body.get("text") or {}
        plain = (text.get("format") or {}).get("type") in (None, "text")
        kept = text if plain else {name: value for name, value in text.items() if name != "format"}
        return {**out, "store": False, **({"text": kept} if kept else {})}, plain

    def written_text(self, answer: Json) -> str:
        """Join the texts of its messages."""
        messages = [item for item in objects(answer.get("output")) if item.get("type") == "message"]
        parts = [part for message in messages for part in objects(message.get("content"))]
        return mended("".join(shown_text(part.get("text")) for part in parts))

    def unbounded_cost(self, body: Json, price: Price) -> str | None:
        """Name what is not in the tables."""
        return known_costs.unknown_in_responses(body, price)

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body as it is. A response always reports its usage."""
        return dict(body)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Apply the client's limit, or the default."""
        asked = body.get("max_output_tokens") or default_output
        return CallLimits(asked=asked, least=min(asked, LEAST_USEFUL_OUTPUT), field="max_output_tokens")

    def count(self, model: str, body: Json, *, in_bytes: bool = False) -> int:
        """Count everything, but for the context that the upstream keeps."""
        return body_bound(model, body, in_bytes=in_bytes)

    def is_answer(self, decoded: Json) -> bool:
        """Look for output or a usage."""
        return "output" in decoded or "usage" in decoded

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Read a `response`."""
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

    def is_content(self, chunk: Json) -> bool:
        """Return True for an event of the response before its end."""
        kind = chunk.get("type")
        return isinstance(kind, str) and kind.startswith("response.") and kind not in _ENDS

    def with_facts(self, answer: bytes, plan_tokens: int, facts: Mapping[str, object]) -> bytes:
        """Add the facts to a response, or to the event that contains it, and correct the usage."""
        try:
            parts = members(answer)
        except ValueError:
            parts = {}
        if decode_object(b'{"type":%s}' % parts.get("type", b"null")).get("type") in _ENDS:
            inner = parts.get("response")
            changed = None if inner is None else self.with_facts(inner, plan_tokens, facts)
            return answer if changed is None else with_members(answer, {"response": changed})
        return without_guideline(
            answer, plan_tokens, prompt="input_tokens", output="output_tokens", facts=facts
        )

    def render(self, body: Json, local: LocalAnswer) -> bytes:
        """Render a `response`."""
        return msgspec.json.encode(response(body, local))

    def events(self, body: Json, local: LocalAnswer) -> Iterator[bytes]:
        """Render the events of a response."""
        return response_events(body, local)


def _read(answer: Mapping[str, Any]) -> ReadAnswer:
    incomplete = an_object(answer.get("incomplete_details")).get("reason")
    status = answer.get("status")
    finish = "length" if incomplete == "max_output_tokens" else mended(str(status)[:100]) if status else None
    return ReadAnswer(
        reported=read_usage(answer.get("usage")).at_tier(answer.get("service_tier")),
        finish_reason=finish,
        generated=in_unicode(list(texts(answer.get("output")))),
    )


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
