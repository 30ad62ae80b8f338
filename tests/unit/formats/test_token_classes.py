"""Each class of tokens that a usage reports is booked at its own rate, on every endpoint."""

import json

import pytest

from proxy.formats.chat import Chat
from proxy.formats.completions import Completions
from proxy.formats.embeddings import Embeddings
from proxy.formats.responses import Responses
from proxy.pricing.prices import Usage
from tests.support.odd import COMPLETE

FORMATS = {f.path: f for f in (Chat(), Completions(), Embeddings(), Responses())}
INPUTS = {"cached_tokens": 300, "cache_write_tokens": 200, "audio_tokens": 100}


@pytest.mark.parametrize("prefix", ["prompt", "input"])
@pytest.mark.parametrize("path", list(COMPLETE))
def test_input_classes_are_booked(path, prefix):
    """Reads and writes of a cache, and audio, count as such whatever the endpoint."""
    answer = json.loads(json.dumps(COMPLETE[path]))
    answer["usage"] = {f"{prefix}_tokens": 1000, f"{prefix}_tokens_details": INPUTS, "total_tokens": 1000}
    usage = FORMATS[path].read_complete(answer).reported.filled(9, 0, cut=False)
    assert usage == Usage(
        prompt_tokens=1000,
        completion_tokens=0,
        cached_tokens=300,
        cache_write_tokens=200,
        audio_prompt_tokens=100,
        reasoning_tokens=0,
        audio_completion_tokens=0,
    )
