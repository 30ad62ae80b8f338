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

from proxy.pricing.prices import Price, Usage, cost, output_that_fits, worst_case
from proxy.pricing.tokens import count_text, prompt_bound

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
    assert prompt_bound(MODEL, body) >= reference_messages(given_messages) + reference_tools(given_tools)


@settings(deadline=None, max_examples=200)
@given(messages)
def test_unknown_tokenizer(given_messages):
    """Bytes are more than the tokens of any byte-level encoding."""
    for name in ("o200k_base", "cl100k_base"):
        encoding = tiktoken.get_encoding(name)
        count = sum(len(encoding.encode(m["content"], disallowed_special=())) + 4 for m in given_messages) + 3
        assert prompt_bound("model-of-tomorrow", {"messages": given_messages}) >= count


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 5))
def test_image_bounds(width, height, count):
    """By the dearest published rule."""
    scale = min(1, 2048 / max(width, height))
    width, height = width * scale, height * scale
    scale = min(1, 768 / min(width, height))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    image = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    body = {"messages": [{"role": "user", "content": [image] * count}]}
    assert prompt_bound(MODEL, body) >= count * (2833 + 5667 * tiles)


rates = st.integers(0, 10**11)
prices = st.builds(
    Price, input=rates, output=rates, cached_input=st.none() | rates, audio_input=st.none() | rates,
    audio_output=st.none() | rates,
)  # fmt: skip


@given(prices, st.integers(0, 10**6), st.integers(0, 10**6), st.data())
def test_worst_case_covers_usage(price, prompt, output, data):
    """Cached, audio and reasoning tokens included."""
    used = data.draw(st.integers(0, prompt))
    made = data.draw(st.integers(0, output))
    usage = Usage(
        prompt_tokens=used, completion_tokens=made, cached_tokens=data.draw(st.integers(0, used)),
        reasoning_tokens=data.draw(st.integers(0, made)), audio_prompt_tokens=data.draw(st.integers(0, used)),
        audio_completion_tokens=data.draw(st.integers(0, made)),
    )  # fmt: skip
    assert cost(price, usage) <= worst_case(price, prompt, output)


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
