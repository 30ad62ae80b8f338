"""The whole product on a real vLLM: a real model answers, escalates, and stops when it is told to."""

import re
import urllib.request

import pytest

from tests.support.proxy_process import ProxyProcess

LARGE = "large-stand-in"
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def real_proxy(engine, tmp_path_factory):
    """A proxy whose small tier is the bundled model; the same model plays the large tier at a price."""
    with ProxyProcess(
        tmp_path_factory.mktemp("real"),
        engine.base_url,
        engine.base_url,
        env={"ENGINE_KEY": engine.api_key, "OPENAI_API_KEY": engine.api_key},
        small={"model": engine.model, "api_key_env": "ENGINE_KEY", "max_output_tokens": 64},
        large={"model": LARGE, "max_output_tokens": 48},
        prices={LARGE: {"input_per_mtok": 2.5, "output_per_mtok": 10}},
        cascade={"samples": 4, "plan_max_tokens": 32, "plans": "all"},  # for open questions, too
    ) as proxy:
        yield proxy


def ask(proxy, question, max_tokens=64, **headers):
    return proxy.client(timeout=300).chat.completions.create(
        model="cope",
        messages=[{"role": "user", "content": question}],
        max_tokens=max_tokens,
        extra_headers=headers,
    )


def metric(engine, name):
    """Sum a vLLM counter or gauge over its labels."""
    with urllib.request.urlopen(engine.base_url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", answer.read().decode(), re.MULTILINE)
    return sum(float(value) for value in found)


def test_stage_1_answers(real_proxy):
    """A sure answer of the real model stays local and costs nothing."""
    answer = ask(real_proxy, "What is the capital of France?", **{"X-COPE-Threshold": "0.1"})
    assert answer.cope["stage"] == 1
    assert 0.1 <= answer.cope["confidence"] <= 1
    assert answer.cope["cost_usd"] == "0"
    assert answer.choices[0].message.content


def test_question_reaches_stage_3(real_proxy):
    """An unsure one walks 1 -> 2 -> 3: a guideline and an answer are paid for at the stated price."""
    answer = ask(real_proxy, "What is the capital of France?", **{"X-COPE-Threshold": "1"})
    assert answer.cope["stage"] == 3
    story = real_proxy.http().get(f"/v1/spend/requests/{answer.cope['request_id']}").json()
    paid = [c for c in story["calls"] if c["tier"] == "large"]
    assert [c["role"] for c in paid] == ["planner", "executor"]
    price = sum(c["prompt_tokens"] * 2500 + c["completion_tokens"] * 10_000 for c in paid)
    assert story["request"]["cost"] == price > 0


def test_unneeded_samples_stop(real_proxy, engine, until):
    """Once two samples disagree under a threshold of 1, the others stop in vLLM before they are done.

    vLLM 0.32 counts no aborts of clients that left; but what it has finished, and that nothing runs, it tells.
    """
    before = metric(engine, "vllm:request_success_total")
    answer = ask(
        real_proxy,
        "Calculate 48217 * 9173 + 55 and give the number.",
        **{"X-COPE-Threshold": "1", "X-COPE-Samples": "8", "X-COPE-Max-Stage": "1"},
    )
    until(lambda: metric(engine, "vllm:num_requests_running") == 0, 10, "nothing runs any more")
    assert answer.cope["stages"][0]["drawn"] < 8
    story = real_proxy.http().get(f"/v1/spend/requests/{answer.cope['request_id']}").json()
    cancelled = [c for c in story["calls"] if c["finish_reason"] == "cancelled"]
    assert cancelled
    assert metric(engine, "vllm:request_success_total") - before < len(story["calls"])
