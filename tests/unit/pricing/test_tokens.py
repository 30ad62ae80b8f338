"""Counting tokens: offline, never below the upstream's own count."""

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import strategies as st

from proxy.pricing.tokens import _count as pieces_count
from proxy.pricing.tokens import _encoding as encoding_of
from proxy.pricing.tokens import count_prompt, count_text, hides_reasoning, unpack_ranks

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


@pytest.mark.parametrize(
    "variables", [{"XDG_CACHE_HOME": "/sys/none"}, {"HOME": "/sys/none", "XDG_CACHE_HOME": ""}]
)
def test_unwritable_cache(variables, tmp_path):
    """A process that may write only temporary files counts as well, and leaves none of them."""
    code = "from proxy.pricing.tokens import count_text; print(count_text('gpt-4o', 'Say hello.'))"
    kept = {k: v for k, v in os.environ.items() if k != "TIKTOKEN_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **variables, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == "3", done.stderr[-500:]
    assert list(tmp_path.iterdir()) == []


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


def test_odd_parts_count_nothing():
    """A part that is no object has no text to count."""
    body = {"messages": [{"role": "user", "content": ["x" * 100, {"type": "text", "text": "hi"}]}]}
    assert 0 < count_prompt("gpt-4o", body) < 20


LOADED_LATER = """
from tiktoken.registry import ENCODINGS
from proxy.pricing.tokens import count_text, load_encodings
load_encodings(["gpt-4", "vendor/new-model"])
before = set(ENCODINGS)
for model in ("gpt-4", "vendor/new-model", "model-of-the-small-tier"):
    count_text(model, "Say hello.")
print(sorted(set(ENCODINGS) - before))
"""


def test_no_count_loads_an_encoding():
    """Once the encodings of the configured models are loaded, no other model loads one while requests wait."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_LATER], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
