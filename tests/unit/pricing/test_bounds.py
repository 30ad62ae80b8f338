"""Bounds of prompts and costs, against the published rules of OpenAI's message format.

Reference: OpenAI cookbook, "How to count tokens with tiktoken": 3 tokens a message, 1 a name, 3 for the reply's start;
for tools 7 a function, 3 its parameters, 3 a property, -3 and 3 an item for enums, 12 at the end. Images: OpenAI's
guide to vision, "Calculating costs": 2833 + 5667 a tile for gpt-4o-mini, the dearest; at most 768 by 2048 is tiled by 512.
"""

import math

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.pricing.bounds import (
    LONGEST_CONTEXT,
    TOKENS_OF_KEPT_REASONING,
    TOKENS_PER_IMAGE,
    TOKENS_PER_TOOL,
    body_bound,
    texts_bound,
)
from proxy.pricing.prices import Price, output_that_fits, worst_case
from proxy.pricing.tokens import byte_length, count_text

MODEL = "gpt-4o"
text = (
    st.text(max_size=200)
    | st.text("日本語한국어हिन्दी🙂👩‍👩‍👧", max_size=100)
    | st.text(' \n\t{}[]"\\', max_size=100)
)
names = st.from_regex(r"[a-zA-Z_]{1,20}", fullmatch=True)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": text}, optional={"name": names}
    ),
    min_size=1, max_size=8,
)  # fmt: skip
properties = st.dictionaries(
    names,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "number"]), "description": text},
        optional={"enum": st.lists(names, min_size=1, max_size=5)},
    ),
    max_size=5,
)
tools = st.lists(
    st.fixed_dictionaries({"name": names, "description": text, "properties": properties}), max_size=4
)


@pytest.fixture(autouse=True, scope="module")
def _encodings():
    """Let tiktoken find its files without a net."""
    count_text("gpt-4o", "")
    count_text("gpt-4", "")


def encoded(value):
    return len(tiktoken.encoding_for_model(MODEL).encode(value, disallowed_special=()))


def reference_messages(given):
    """Count messages as the cookbook does."""
    total = 3
    for message in given:
        total += 3 + sum(encoded(v) for v in message.values()) + ("name" in message)
    return total


def reference_tools(given):
    """Count tools as the cookbook does."""
    total = 12 if given else 0
    for tool in given:
        total += 7 + encoded(f"{tool['name']}:{tool['description'].rstrip('.')}")
        total += 3 if tool["properties"] else 0
        for key, value in tool["properties"].items():
            total += 3
            if "enum" in value:
                total += -3 + sum(3 + encoded(item) for item in value["enum"])
            total += encoded(f"{key}:{value['type']}:{value['description'].rstrip('.')}")
    return total


def as_tool(tool):
    parameters = {"type": "object", "properties": tool["properties"]}
    function = {"name": tool["name"], "description": tool["description"], "parameters": parameters}
    return {"type": "function", "function": function}


@settings(deadline=None, max_examples=300)
@given(messages, tools)
def test_bound_covers_published_count(given_messages, given_tools):
    """For messages in any script, with names and tools."""
    body = {"messages": given_messages, "tools": [as_tool(t) for t in given_tools]}
    assert body_bound(MODEL, body) >= reference_messages(given_messages) + reference_tools(given_tools)


@settings(deadline=None, max_examples=200)
@given(messages)
def test_unknown_tokenizer(given_messages):
    """Bytes are more than the tokens of any byte-level encoding."""
    for name in ("o200k_base", "cl100k_base"):
        encoding = tiktoken.get_encoding(name)
        count = sum(len(encoding.encode(m["content"], disallowed_special=())) + 4 for m in given_messages) + 3
        assert body_bound("model-of-tomorrow", {"messages": given_messages}) >= count


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 5))
def test_image_bounds(width, height, count):
    """By the dearest published rule."""
    scale = min(1, 2048 / max(width, height))
    width, height = width * scale, height * scale
    scale = min(1, 768 / min(width, height))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    body = {"messages": [{"role": "user", "content": [image] * count}]}
    assert body_bound(MODEL, body) >= count * (2833 + 5667 * tiles)


rates = st.integers(0, 10**11)
prices = st.builds(
    Price, input=rates, output=rates, cached_input=st.none() | rates, audio_input=st.none() | rates,
    audio_output=st.none() | rates, cache_write=st.none() | rates, request=rates,
)  # fmt: skip


@given(prices, st.integers(0, 10**5), st.integers(0, 10**13))
def test_largest_output_that_fits(price, prompt, available):
    """One token more would not fit."""
    output = output_that_fits(price, prompt, available)
    if output is None:
        assert worst_case(price, prompt, 10**9) == worst_case(price, prompt, 0) <= available
    elif output < 0:
        assert worst_case(price, prompt, 0) > available
    else:
        assert worst_case(price, prompt, output) <= available < worst_case(price, prompt, output + 1)


SAID = "A long sentence that is more than ten tokens, as anybody can see who reads it."
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
SOUND = {"type": "input_audio", "input_audio": {"data": "A" * 10**6, "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "A" * 10**6}}
PLACES = [
    lambda said: {"messages": [{"role": "user", "content": said}]},
    lambda said: {"messages": [{"role": "user", "content": [{"type": "text", "text": said}, "not a part"]}]},
    lambda said: {"messages": [{"role": "user", "name": said, "content": None}]},
    lambda said: {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": said}}]}]},
    lambda said: {"messages": [{"role": "assistant", said: 1}]},
    lambda said: {"messages": [said, {"content": 5}]},
    lambda said: {"input": said},
    lambda said: {"input": [{"type": "function_call_output", "output": said}]},
    lambda said: {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": said}]}]},
    lambda said: {"input": [{"type": "compaction", "encrypted_content": said}]},
    lambda said: {"tools": [{"function": {"parameters": {"type": "input_image", "image_url": said}}}]},
    lambda said: {"functions": [{"name": said}]},
    lambda said: {"instructions": said},
    lambda said: {"a": [[[{"b": {said: [said]}}]]]},
]


@pytest.mark.parametrize("model", ["gpt-4o", "model-of-tomorrow"])
@pytest.mark.parametrize("place", PLACES)
def test_every_text_counts(model, place):
    """A text adds at least its own tokens, wherever it stands."""
    added = count_text(model, SAID) if model == "gpt-4o" else len(SAID)
    assert body_bound(model, place(SAID)) >= body_bound(model, place("")) + added


@pytest.mark.parametrize("model", ["text-davinci-003", "other"])
def test_bytes_limit_unknown_encodings(model):
    """If the encoding of a model is not installed, each byte of a text may be a token."""
    assert body_bound(model, PLACES[0]("é" * 100)) >= 200
    assert texts_bound(model, ["é" * 100], {}) >= 200
    assert body_bound("gpt-4o", PLACES[0]("a" * 80)) < body_bound(model, PLACES[0]("a" * 80))


@pytest.mark.parametrize(
    ("part", "limit"),
    [
        (IMAGE, TOKENS_PER_IMAGE),
        ({"type": "input_image", "image_url": IMAGE["image_url"]["url"]}, TOKENS_PER_IMAGE),
        (SOUND, LONGEST_CONTEXT),
        (FILE, LONGEST_CONTEXT),
        ({"type": "input_file", "file_data": "A" * 10**6}, LONGEST_CONTEXT),
    ],
)
def test_attachments_have_fixed_limits(part, limit):
    """The content of an attachment is not counted as text. An image counts as the largest one, a file as a context."""
    for key in ("messages", "input"):
        body = {key: [{"role": "user", "content": [part]}]}
        empty = {key: [{"role": "user", "content": []}]}
        assert (
            limit
            <= body_bound("model-of-tomorrow", body) - body_bound("model-of-tomorrow", empty)
            < limit + 200
        )


def test_published_context_limits_files():
    """A file cannot be longer than the context of its model."""
    body = {"messages": [{"role": "user", "content": [FILE]}]}
    assert 128_000 < body_bound("gpt-4o", body) < 129_000


def test_kept_reasoning_counts():
    """Reasoning that the upstream keeps is as long as the longest output."""
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert body_bound(MODEL, {"input": [item]}) > TOKENS_OF_KEPT_REASONING
    assert body_bound(MODEL, {"input": [{**item, "encrypted_content": "abc"}]}) < 1000


def test_numbers_are_token_counts():
    """Texts that a client sends as tokens count as such, and tools have room for their rules."""
    assert texts_bound(MODEL, [1000, "Hello."], {}) >= 1000 + count_text(MODEL, "Hello.")
    tools = {"tools": [{"name": "f"}], "functions": [{"name": "f"}]}
    assert body_bound(MODEL, tools) >= 2 * TOKENS_PER_TOOL
    assert body_bound("claude-5", tools) >= 530


def test_deep_bodies_are_counted():
    """Neither depth nor huge numbers stop the count."""
    deep = 10**5000
    for _ in range(5000):
        deep = [{"a": deep}]
    assert body_bound(MODEL, {"tools": deep}) > 15_000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text | st.characters().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
parts = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"file_data": "AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
)
contents = text | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}) | parts, max_size=3)
bodies = st.dictionaries(text, values, max_size=4) | st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": names, "content": contents}), max_size=4)},
    optional={"tools": st.lists(values, max_size=3), "input": values},
)
MODELS = ("gpt-4o", "gpt-4", "gpt-oss-120b", "gemini-2.5-pro", "claude-opus-4", "model-of-tomorrow")


@settings(deadline=None, max_examples=400)
@given(bodies, st.sampled_from(MODELS))
def test_bytes_cover_tokens(body, model):
    """For every body and every tokenizer, the limit in bytes is not below the one in tokens."""
    assert body_bound(model, body, in_bytes=True) >= body_bound(model, body)


@settings(deadline=None)
@given(st.lists(text | st.integers(1, 9), max_size=5), bodies, st.sampled_from(MODELS))
def test_bytes_cover_plain_texts(texts, body, model):
    """The same holds for plain texts and token ids."""
    assert texts_bound(model, texts, body, in_bytes=True) >= texts_bound(model, texts, body)


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.characters(exclude_categories=[])) | text, st.sampled_from(["gpt-4o", "gpt-4", "gpt-oss-120b"])
)
def test_tokens_are_bytes(given_text, model):
    """A text, also one with halves of characters, never has more tokens than bytes."""
    assert count_text(model, given_text) <= byte_length(given_text)
