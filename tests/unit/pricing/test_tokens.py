"""Counting tokens: offline, never below the upstream's own count, and strict about reported usage."""

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pricing.prices import Usage
from proxy.pricing.tokens import hides_reasoning, unpack_ranks, usage_from

counts = st.integers(0, 10**9)


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


@given(counts, counts, counts, counts)
def test_usage_of_both_endpoints(prompt, completion, cached, reasoning):
    """Chat completions and responses name the same counts differently."""
    expected = Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, reasoning_tokens=reasoning
    )
    chat_usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    response_usage = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert usage_from(chat_usage) == usage_from(response_usage) == expected


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"prompt_tokens": -1},
        {"prompt_tokens": "5"},
        {"prompt_tokens": 5, "completion_tokens": 1.5},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -2}},
    ],
)
def test_invalid_usage(reported):
    """A count that is missing, negative or not an integer is refused by name."""
    with pytest.raises(ValueError, match=r"usage\.\w+ is"):
        usage_from(reported)
