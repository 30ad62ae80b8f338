"""Under a budget, a request is refused by name, or its worst case covers the bill of the dearest vendor."""

import asyncio
import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ApiError
from proxy.formats import known_costs
from proxy.formats.base import OUTPUT_LIMITS, CallLimits
from proxy.formats.chat import Chat
from proxy.formats.completions import Completions
from proxy.pricing.prices import Price
from tests.support.openai_schemas import SPEC
from tests.support.soundness import FORMATS, VENDORS, outcome, trial

RICH = 10**15
BASES = {
    "/chat/completions": {"messages": [{"role": "user", "content": "Hi."}]},
    "/responses": {"input": "Hi."},
    "/completions": {"prompt": "Hi."},
    "/embeddings": {"input": "Hi."},
}
# The properties of OpenAI's request schemas. A test compares them with the specification, if it is there.
PROPERTIES = {
    "/chat/completions": """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
        messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
        prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop
        store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options""",
    "/responses": """background context_management conversation include input instructions max_output_tokens max_tool_calls
        metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
        prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text
        tool_choice tools top_logprobs top_p truncation user""",
    "/completions": """best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed stop
        stream stream_options suffix temperature top_p user""",
    "/embeddings": "dimensions encoding_format input model user",
}
SCHEMAS = {
    "/chat/completions": "CreateChatCompletionRequest",
    "/responses": "CreateResponse",
    "/completions": "CreateCompletionRequest",
    "/embeddings": "CreateEmbeddingRequest",
}
DEAR = {
    "/chat/completions": {"audio", "moderation", "prediction", "web_search_options", "modalities"},
    "/responses": {
        "background",
        "context_management",
        "conversation",
        "moderation",
        "previous_response_id",
        "prompt",
    },
}
VALUES = (True, 7, "word " * 50, {"type": "x", "id": "y" * 200}, [{"type": "x"}], ["audio"], "priority")
json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def judged(path, body, model="gpt-4o", budget=RICH):
    """Return the outcome of a request, which has to be sound."""
    found = asyncio.run(outcome(path, body, model, budget))
    sound(found)
    return found


def sound(found):
    """The bill is within the reservation, the reservation within the budget, and the record is the bill."""
    if found.end == "paid":
        assert found.billed <= found.reserved <= found.budget, json.dumps(found.body)
        assert found.booked == found.billed, json.dumps(found.body)


@settings(deadline=None, max_examples=600)
@given(st.integers(0, 2**32))
def test_random_requests_are_sound(seed):
    """Requests of all endpoints, with odd fields, types, tools, tiers and models."""
    sound(asyncio.run(trial(Random(seed))))


@pytest.mark.parametrize("path", BASES)
@pytest.mark.parametrize("model", VENDORS)
def test_every_property_is_sound(path, model):
    """Each property of OpenAI's schemas, with values of each type."""
    refused = set()
    for name in PROPERTIES[path].split():
        for value in VALUES:
            found = judged(path, {**BASES[path], name: value}, model)
            if found.end != "paid":
                refused.add(name)
    dear = DEAR.get(path, set()) - ({"audio"} if "audio" in model else set())
    assert dear <= refused


def test_properties_are_complete():
    """The list of properties is that of the specification."""
    if SPEC.exists():
        schemas = json.loads(SPEC.read_text(encoding="utf-8"))["components"]["schemas"]
        for path, name in SCHEMAS.items():
            assert set(PROPERTIES[path].split()) == _properties(schemas, schemas[name])


def _properties(schemas, schema):
    if "$ref" in schema:
        return _properties(schemas, schemas[schema["$ref"].rpartition("/")[2]])
    found = set(schema.get("properties") or ())
    for part in (part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key) or ()):
        found |= _properties(schemas, part)
    return found


@settings(deadline=None)
@given(st.sampled_from(list(BASES)), st.text(max_size=30), json_values)
def test_unknown_fields_are_refused(path, name, value):
    """A field of tomorrow, or of another vendor, is refused by its name."""
    if name not in PROPERTIES[path].split() and name not in known_costs.PASSIVE:
        found = judged(path, {**BASES[path], name: value})
        assert (found.end, found.why) == ("refused", name.split(" ", maxsplit=1)[0][:40])


@settings(deadline=None)
@given(st.data(), st.text(min_size=1, max_size=20), json_values)
def test_unknown_members_are_sound(data, name, value):
    """A member or a type that nobody knows, at each place of a conversation, is refused or covered."""
    chat = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi."}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    responses = {"input": [item], "tools": [{"type": "function", "name": "f"}]}
    path, base = data.draw(st.sampled_from([("/chat/completions", chat), ("/responses", responses)]))
    body = json.loads(json.dumps(base))
    objects = list(_objects(body))[1:]
    data.draw(st.sampled_from(objects))[data.draw(st.sampled_from([name, "type", "file_id", "id"]))] = value
    judged(path, body)


def _objects(value):
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


def part(**fields):
    return {"messages": [{"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/chat/completions", part(type="file", file={"file_id": "f"}), "messages[0].content[0].file.file_id"),
        ("/chat/completions", part(type="image_url", image_url={"file_id": "f"}), "messages[0].content[0].image_url.file_id"),
        ("/chat/completions", part(type="video_url", video_url={"url": "u"}), "messages[0].content[0]"),
        ("/chat/completions", part(type="input_audio", input_audio={"data": "A"}), "messages[0].content[0]"),
        ("/chat/completions", part(type="text", text="x", cache_control={"type": "ephemeral"}), "messages[0].content[0].cache_control"),
        ("/chat/completions", {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ("/chat/completions", {**BASES["/chat/completions"], "tools": [{"type": "web_search"}]}, "the"),
        ("/chat/completions", {**BASES["/chat/completions"], "tools": [{"type": "function", "mcp": {}}]}, "tools[0].mcp"),
        ("/responses", {"input": [{"type": "item_reference", "id": "m"}]}, "input[0]"),
        ("/responses", {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "f"}}]}, "input[0].output[0].file_id"),
        ("/responses", {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].output[0].file_id"),
        ("/responses", {"input": "x", "tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}, "the"),
        ("/responses", {"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ("/responses", {"input": "x", "service_tier": "fast"}, "service_tier"),
        ("/responses", {"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ("/completions", {"prompt": "x", "service_tier": ["priority"]}, "service_tier"),
        ("/embeddings", {"input": "x", "input_type": "query"}, "input_type"),
    ],
)  # fmt: skip
def test_hidden_costs_are_refused(path, body, name):
    """What costs more than its text is refused, and the error names it."""
    found = judged(path, body)
    assert (found.end, found.why) == ("refused", name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {**BASES["/chat/completions"], "metadata": {"a": "b"}, "user": "u", "seed": 1, "top_k": 5, "min_p": 0.1, "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex", "background": False, "tools": None, "audio": None}),
        ("/chat/completions", part(type="image_url", image_url={"url": "https://example.org/x.png", "detail": "high"})),
        ("/chat/completions", part(type="file", file={"file_data": "A", "filename": "a.pdf"})),
        ("/responses", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}, {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit"}}]}], "store": True}),
        ("/responses", {"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}], "tool_choice": {"type": "function", "name": "f"}}),
        ("/completions", {"prompt": ["x", "y"], "best_of": 5, "n": 2, "echo": True, "logprobs": 3}),
        ("/embeddings", {"input": ["x"] * 20, "dimensions": 8, "encoding_format": "base64"}),
    ],
)  # fmt: skip
def test_ordinary_requests_are_accepted(path, body):
    """Fields that cost no more than their text pass."""
    assert judged(path, body).end == "paid"


def test_known_rates_are_accepted():
    """Audio and cache writes pass if their rates are known."""
    price = Price(input=1, output=1, audio_input=2, audio_output=2, cache_write=2)
    spoken = {
        **part(type="input_audio", input_audio={"data": "A"}),
        "modalities": ["text", "audio"],
        "audio": {"voice": "a"},
    }
    written = part(type="text", text="x", cache_control={"type": "ephemeral", "ttl": "5m"})
    longer = part(type="text", text="x", cache_control={"type": "ephemeral", "ttl": "1h"})
    assert Chat().unbounded_cost(spoken, price) is None
    assert Chat().unbounded_cost(written, price) is None
    assert Chat().unbounded_cost(longer, price) == "messages[0].content[0].cache_control"
    assert Chat().unbounded_cost(longer, replace(price, cache_write_1h=3)) is None


def test_tiers_with_a_price_are_accepted():
    """A tier above the list price passes if its price is known. So do those that a reservation covers anyway."""
    price = Price(input=1, output=1, tiers=(("priority", Price(input=2, output=2)),))
    for tier in ("priority", "flex", "default", "auto", None):
        assert Chat().unbounded_cost({**BASES["/chat/completions"], "service_tier": tier}, price) is None
    for tier in ("fast", "scale", "Priority", ["priority"], 7):
        assert Chat().unbounded_cost({**BASES["/chat/completions"], "service_tier": tier}, price) is not None


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 128))
def test_one_output_limit_is_sent(old, new, choices):
    """Of two limits, the smaller one is reserved, and the call has only one."""
    body = {**BASES["/chat/completions"], "max_tokens": old, "max_completion_tokens": new, "n": choices}
    limits = Chat().limits(body, 5)
    assert limits.asked == min(old, new) * choices
    sent = limits.within(body, limits.asked)
    assert [sent[name] for name in OUTPUT_LIMITS if name in sent] == [min(old, new)]
    assert CallLimits(asked=0, least=0).within(body, 5) == body


@pytest.mark.parametrize(
    ("format_", "fields", "name"),
    [
        (Chat(), {"n": 129}, "n"),
        (Chat(), {"max_tokens": 2**20 + 1}, "max_tokens"),
        (Chat(), {"max_completion_tokens": 2**31}, "max_completion_tokens"),
        (Completions(), {"n": 2**31}, "n"),
        (Completions(), {"best_of": 129}, "best_of"),
        (FORMATS["/responses"], {"max_output_tokens": 2**21}, "max_output_tokens"),
    ],
)
def test_absurd_limits_are_refused(format_, fields, name):
    """No model writes that much, so no budget has to reserve it."""
    with pytest.raises(ApiError) as e:
        format_.check({**BASES[format_.path], **fields})
    assert (e.value.status, e.value.param) == (400, name)
