"""Counting tokens: offline, never below the upstream's own count."""

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import strategies as st

from proxy.pricing.tokens import (
    LONGEST_CONTEXT,
    TOKENS_PER_ATTACHMENT,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_TOOL,
    count_bound,
    count_prompt,
    count_text,
    hides_reasoning,
    prompt_bound,
    responses_bound,
    unpack_ranks,
)
from proxy.pricing.tokens import _count as pieces_count
from proxy.pricing.tokens import _encoding as encoding_of

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
FILE = {"type": "file", "file": {"file_id": "f"}}
counts = st.integers(0, 10**9)


def chat(*content, **fields):
    return {"messages": [{"role": "user", "content": c} for c in content], **fields}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "gpt-oss-120b", "text-davinci-003", "other"])
def test_counting_needs_no_network(model, tmp_path):
    """A process with an empty cache counts the tokens of every model without a connection."""
    code = f"from proxy.pricing.tokens import count_text; print(count_text({model!r}, 'Say hello.'))"
    environment = {
        **os.environ, "XDG_CACHE_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == "3", done.stderr[-500:]


def test_ranks_are_unpacked_once(tmp_path):
    """The file has the name and the content that tiktoken expects, and is not written again."""
    unpack_ranks("cl100k_base.tiktoken", tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # of tiktoken's own cache
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith("223921b76ee99bde")  # pinned in tiktoken
    written = file.stat().st_mtime_ns
    unpack_ranks("cl100k_base.tiktoken", tmp_path)
    assert [f.stat().st_mtime_ns for f in tmp_path.iterdir()] == [written]


@pytest.mark.parametrize("model", ["text-davinci-003", "other"])
def test_bytes_limit_unknown_encodings(model):
    """If the encoding of a model is not installed, each byte of a text may be a token."""
    assert prompt_bound(model, chat("é" * 100)) >= 200
    assert count_bound(model, ["é" * 100]) >= 200
    assert prompt_bound("gpt-4o", chat("a" * 80)) < prompt_bound(model, chat("a" * 80))


def test_bound_counts_every_field():
    """Names, tool calls, refusals, tools and formats add at least their own tokens."""
    base = chat("Hello.")
    bound = prompt_bound("gpt-4o", base)
    said = "A long sentence that is more than ten tokens, as anybody can see who reads it."
    added = count_text("gpt-4o", said)
    (message,) = base["messages"]
    for body in (
        {"messages": [{**message, "name": said}]},
        {"messages": [{**message, "refusal": said}]},
        {"messages": [{**message, "tool_calls": [{"function": {"arguments": said}}]}]},
        {"messages": [{**message, "function_call": {"arguments": said}}]},
        {"messages": [{**message, "content": [{"type": "text", "text": f"Hello. {said}"}, "not a part"]}]},
        {**base, "response_format": {"description": said}},
        {**base, "prediction": {"content": said}},
    ):
        assert prompt_bound("gpt-4o", body) >= bound + added
        assert count_prompt("gpt-4o", body) >= count_prompt("gpt-4o", base) + added
    for tools in ("tools", "functions"):
        assert prompt_bound("gpt-4o", {**base, tools: [{"name": said}]}) >= bound + added + TOKENS_PER_TOOL


def test_bound_ignores_invalid_messages():
    """A body that the upstream will refuse still has an upper limit."""
    assert prompt_bound("gpt-4o", {"messages": ["text", {"role": "user", "content": 5}]}) > 0
    assert prompt_bound("gpt-4o", {}) > 0


def test_attachments_have_fixed_limits():
    """An image or a sound counts as the largest one, and a file as a complete context."""
    bound = prompt_bound("gpt-4o", chat([{"type": "text", "text": "Hello."}]))
    for part, limit in ((IMAGE, TOKENS_PER_ATTACHMENT), (FILE, LONGEST_CONTEXT)):
        assert prompt_bound("gpt-4o", chat([{"type": "text", "text": "Hello."}, part])) == bound + limit
    spoken = {"role": "assistant", "audio": {"id": "a"}}
    assert prompt_bound("gpt-4o", {"messages": [spoken]}) >= TOKENS_PER_ATTACHMENT


def test_numbers_are_token_counts():
    """Texts that a client sends as tokens count as such."""
    assert count_bound("gpt-4o", [1000, "Hello."]) >= 1000 + count_text("gpt-4o", "Hello.")


def test_responses_input_forms():
    """A text and a list of items with the same text have almost the same limit."""
    text = "Say hello to everybody."
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    plain = responses_bound("gpt-4o", {"input": text})
    assert count_text("gpt-4o", text) < plain <= responses_bound("gpt-4o", {"input": [item]}) < plain + 50
    assert responses_bound("gpt-4o", {"input": None}) > 0


def test_responses_attachments():
    """The content of an attachment is not counted as text. It has a fixed limit."""
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 10**6}
    file = {"type": "input_file", "file_data": "A" * 10**6, "pages": 3}
    message = {"type": "message", "content": [{"type": "input_text", "text": "Look."}], "priority": 1}
    bound = responses_bound("gpt-4o", {"input": [message]})
    for part, limit in ((image, TOKENS_PER_ATTACHMENT), (file, LONGEST_CONTEXT)):
        body = {"input": [{**message, "content": [*message["content"], part]}]}
        assert responses_bound("gpt-4o", body) == bound + limit


def test_responses_fields_count():
    """Instructions, tools and formats add at least their own tokens."""
    said = "A long sentence that is more than ten tokens, as anybody can see who reads it."
    bound, added = responses_bound("gpt-4o", {"input": "Hi."}), count_text("gpt-4o", said)
    for fields, extra in (
        ({"instructions": said}, 0),
        ({"text": {"format": said}}, 0),
        ({"tools": [{"name": said}]}, TOKENS_PER_TOOL),
    ):
        assert responses_bound("gpt-4o", {"input": "Hi.", **fields}) >= bound + added + extra
    items = [{"role": "user", "content": "Hi."}] * 3
    assert responses_bound("gpt-4o", {"input": items}) >= bound + 2 * TOKENS_PER_MESSAGE


@pytest.mark.parametrize(
    ("model", "body", "hidden"),
    [
        ("gpt-4o", {}, False),
        ("gpt-4o", {"reasoning_effort": "low"}, True),
        ("gpt-4o", {"reasoning": {"effort": "low"}}, True),
        ("o3-mini", {}, True),
        ("openai/gpt-5", {}, True),
    ],
)
def test_hidden_reasoning(model, body, hidden):
    """Reasoning models, and requests that ask for reasoning, may generate hidden tokens."""
    assert hides_reasoning(model, body) is hidden


def test_tokenizer_panics_count_bytes():
    """A text that the tokenizer panics on has its bytes as an upper limit."""
    text = " " * 1_000_000
    assert pieces_count(encoding_of("o200k_base"), text) == len(text)


class Failing:
    """A tokenizer that fails."""

    def __init__(self, error):
        self.error = error

    def encode_ordinary(self, _):
        raise self.error


def test_failing_tokenizer_counts_bytes():
    """So has a text that it refuses; an interrupt is not swallowed."""
    assert pieces_count(Failing(ValueError("no")), "é\ud83d") == 5
    with pytest.raises(KeyboardInterrupt):
        pieces_count(Failing(KeyboardInterrupt()), "a")


def test_long_texts_are_cut():
    """The count of a text in pieces is near that of the text, and not below it."""
    text = "The quick brown fox, 漢字 and 12,345 numbers.\n" * 5000
    whole = len(encoding_of("o200k_base").encode_ordinary(text))
    assert whole <= count_text("gpt-4o", text) <= whole + len(text) // 50_000 + 1
