"""Fixtures that several files of end-to-end tests share."""

import json

import pytest

from tests.support.evals import GOAL, GUIDELINE, ITEMS, at_length, right
from tests.support.proxy_process import ProxyProcess


@pytest.fixture
def audited(make_proxy):
    """A proxy that audits each local answer."""
    return make_proxy(audit={"share": 1.0, "budget_usd": 1, "expect": 0.9}, large={"max_output_tokens": 100})


@pytest.fixture
def bench(small_server, large_server, tmp_path):
    """A configured proxy that is not running, and a data set: the small model knows the first six, the large all."""
    small_server.script(GOAL, *right(range(1, 7)), {"reply": {"content": "I do not know."}})
    large_server.script(GUIDELINE, *at_length(right(range(1, 9))))
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return ProxyProcess(
        tmp_path, small_server.base_url, large_server.base_url, large={"max_output_tokens": 256}
    ), data
