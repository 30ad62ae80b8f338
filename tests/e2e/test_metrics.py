"""The counters and histograms at /metrics."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def scrape(proxy):
    """Return each sample's value by its name and labels."""
    families = text_string_to_metric_families(proxy.http().get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for f in families for sample in f.samples
    }


def labels(**values):
    return sorted(values.items())


def counted(proxy, count, **changed):
    """Wait until `count` requests with these labels are counted, and return all samples."""
    usual = {"status": "200", "mode": "cascade", "task": "math", "stage": "1", "tier": "small"}
    name = ("cope_requests_total", *labels(**usual | changed))
    return wait_until(
        lambda: (found := scrape(proxy)).get(name) == count and found, f"{count} requests at {name}"
    )


def ask(proxy, model="cope", **extra):
    with proxy.client() as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": MATH}], **extra
        )


def test_a_request_is_counted(make_proxy, small_server, large_server):
    """Once by its outcome, with its tokens, its cost, and its times."""
    proxy = make_proxy()
    large_server.say("42", usage=USAGE)
    ask(proxy, "direct/big-model", user="ann", metadata={"team": "x"})
    found = counted(proxy, 1, mode="large", task="none", stage="3", tier="large")
    large = {"tier": "large", "stage": "3", "role": "executor"}
    assert found["cope_tokens_total", *labels(**large, type="prompt")] == 100
    assert found["cope_tokens_total", *labels(**large, type="completion")] == 20
    assert found["cope_cost_usd_total", *labels(**large)] == pytest.approx(0.00045)
    assert found["cope_baseline_usd_total", ("stage", "3")] == pytest.approx(0.00045)
    assert found["cope_request_seconds_count", *labels(mode="large", stage="3")] == 1
    assert found["cope_first_token_seconds_count", *labels(mode="large", stage="3")] == 1
    assert found["cope_small_available",] == 1
    assert not {"ann", "x", "team=x"} & {value for key in found for _, value in key[1:]}


def test_failures_are_counted(make_proxy, small_server, large_server):
    """A failed request has its status, and no stage if none answered."""
    proxy = make_proxy()
    with proxy.http() as http:
        body = {"model": "cope", "messages": [{"role": "user", "content": MATH}], "n": 2}
        refused = http.post("/v1/chat/completions", json=body, headers={"X-COPE-Mode": "small"})
    assert refused.status_code == 400
    counted(proxy, 1, status="400", mode="small", stage="none", tier="none")


def test_workers_add_up(make_proxy, small_server):
    """Any worker reports the requests of all workers."""
    proxy = make_proxy(server={"workers": 2})
    small_server.say("\\boxed{42}")
    for _ in range(12):
        ask(proxy)
    for _ in range(6):
        found = counted(proxy, 12)
        assert found["cope_request_seconds_count", *labels(mode="cascade", stage="1")] == 12
