"""The counters and histograms at /metrics, and who may read them."""

import pytest

from tests.support.cascade import goals_and
from tests.support.scrape import families, read_sqlite, scrape, sums_of_metrics, sums_of_rows, total
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

MATH = "What is 6 times 7? Calculate the number."
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
KEYS = {"COPE_ADMIN_KEY": "sk-admin", "COPE_METRICS_KEY": "sk-metrics"}


def counted(proxy, count, **labels):
    """Wait until `count` requests with these labels are counted, and return all samples."""

    def look():
        found = scrape(proxy)
        return total(found, "cope_requests_total", **labels) == count and found

    return wait_until(look, f"{count} requests with {labels}")


def ask(proxy, model="cope", **extra):
    with proxy.client() as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": MATH}], **extra
        )


def test_a_request_is_counted(make_proxy, small_server, large_server):
    """Once by its outcome, with its tokens, its cost, and its times."""
    proxy = make_proxy()
    details = {
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    large_server.say("42", usage={**USAGE, **details})
    ask(proxy, "direct/big-model", user="ann", metadata={"team": "x"})
    found = counted(
        proxy, 1, kind="none", mode="large", stage="3", tier="large", model="big-model", outcome="answered"
    )
    call = {"stage": "3", "role": "executor", "tier": "large", "model": "big-model", "outcome": "ok"}
    assert total(found, "cope_calls_total", **call) == 1
    assert total(found, "cope_tokens_total", type="prompt", **call) == 100
    assert total(found, "cope_tokens_total", type="completion", **call) == 20
    assert total(found, "cope_cached_tokens_total", **call) == 40
    assert total(found, "cope_reasoning_tokens_total", **call) == 5
    assert total(found, "cope_cost_usd_total", **call) == pytest.approx(0.0004)
    assert total(found, "cope_baseline_usd_total", stage="3") == pytest.approx(0.0004)
    times = {"mode": "large", "stage": "3"}
    for name in ("request_duration", "time_to_first_token", "overhead"):
        assert total(found, f"cope_{name}_seconds_count", **times) == 1, name
    assert total(found, "cope_reservation_wait_seconds_count", outcome="reserved") == 1
    assert found["cope_small_available",] == found["cope_database_up",] == 1
    assert found["cope_upstream_available", ("upstream", "large")] == 1
    assert not {"ann", "x", "team=x"} & {value for key in found for _, value in key[1:]}


def test_stages_are_counted(make_proxy, small_server, large_server):
    """Samples that were drawn, and how each stage ended."""
    proxy = make_proxy(cascade={"samples": 2, "plans": "none"})
    small_server.script(*goals_and("\\boxed{42}"))
    ask(proxy)
    small_server.script(*goals_and("\\boxed{1}", "\\boxed{2}"))
    ask(proxy)
    found = counted(proxy, 1, kind="math", stage="3", outcome="answered")
    assert total(found, "cope_stage_total", kind="math", stage="1", event="accepted") == 1
    assert total(found, "cope_stage_total", kind="math", stage="1", event="escalated") == 1
    assert total(found, "cope_stage_total", kind="math", stage="1", event="drawn") == 4
    assert sums_of_metrics(found) == sums_of_rows(read_sqlite(proxy))


def test_overhead_leaves_out_models(make_proxy, large_server):
    """The time of a slow model is no overhead of the proxy."""
    proxy = make_proxy()
    large_server.say("42", usage=USAGE, delay_s=1.5)
    ask(proxy, "direct/big-model")
    found = counted(proxy, 1)
    assert total(found, "cope_request_duration_seconds_sum") >= 1.5
    spent = total(found, "cope_request_duration_seconds_sum") - total(found, "cope_overhead_seconds_sum")
    assert spent >= 1.4


def test_failures_are_counted(make_proxy, small_server, large_server):
    """A failed request has its outcome, and no stage if none answered."""
    proxy = make_proxy()
    with proxy.http() as http:
        body = {"model": "cope", "messages": [{"role": "user", "content": MATH}], "n": 2}
        refused = http.post("/v1/chat/completions", json=body, headers={"X-COPE-Mode": "small"})
    assert refused.status_code == 400
    counted(proxy, 1, outcome="refused", mode="small", stage="none", tier="none", model="none")


def test_budgets_of_the_operator(make_proxy, large_server):
    """Each budget that the operator has named has a series, and none that a client has named."""
    proxy = make_proxy(
        budgets={
            "global_usd": 0.0018,
            "window": "day",
            "users": {"ann": {"usd": 1}, "*": {"usd": 2}},
            "tags": {"team=x": {"usd": 1}, "team=*": {"usd": 2}},
        }
    )
    large_server.say("42", usage=USAGE)
    for user in ("ann", "bob"):
        ask(
            proxy, "direct/big-model", user=user, metadata={"team": "y"}, max_tokens=20,
            extra_headers={"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "1"},
        )  # fmt: skip
    found = counted(proxy, 2)
    ratios = {key[1:]: value for key, value in found.items() if key[0] == "cope_budget_used_ratio"}
    assert ratios == {
        (("name", ""), ("scope", "global"), ("window", "day")): pytest.approx(0.5),
        (("name", "ann"), ("scope", "user"), ("window", "total")): pytest.approx(0.00045),
        (("name", "team=x"), ("scope", "tag"), ("window", "total")): 0.0,
    }


def test_workers_add_up(make_proxy, small_server):
    """Any worker reports the requests of all workers."""
    proxy = make_proxy(server={"workers": 2})
    small_server.say("\\boxed{42}")
    for _ in range(12):
        ask(proxy)
    for _ in range(6):
        found = counted(proxy, 12)
        assert total(found, "cope_request_duration_seconds_count", mode="cascade", stage="1") == 12
    texts = {family.name: family.documentation for family in families(proxy)}
    assert texts["cope_small_available"].startswith("1 if")


def test_a_key_is_required(make_proxy):
    """Once a key exists, only the metrics key and the admin key read the metrics."""
    proxy = make_proxy(env=KEYS)
    client_key = proxy.cli("keys", "create", "team", check=True).stdout.split()[-1]
    assert client_key.startswith("sk-cope-")

    def get(key=None, path="/metrics"):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return proxy.http().get(path, headers=headers)

    wait_until(lambda: get().status_code == 401, "the key to count")
    assert get("sk-wrong").status_code == 401
    refused = get(client_key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "metrics_key_needed")
    assert "COPE_METRICS_KEY" in refused.json()["error"]["message"]
    for key in KEYS.values():
        assert "cope_database_up 1.0" in get(key).text
    # The metrics key can do nothing else.
    for path in ("/v1/spend", "/v1/models", "/v1/admin/keys"):
        assert get(KEYS["COPE_METRICS_KEY"], path).status_code == 401, path


def test_a_key_lets_another_machine_in(make_proxy):
    """While no client key exists, a scraper behind a reverse proxy needs one of the two keys."""
    proxy = make_proxy(env=KEYS)
    forwarded = {"X-Forwarded-For": "10.0.0.1"}
    assert proxy.http().get("/metrics", headers=forwarded).status_code == 403
    for key in KEYS.values():
        families(proxy, **forwarded, Authorization=f"Bearer {key}")
    answer = proxy.http().get(
        "/v1/models", headers=forwarded | {"Authorization": f"Bearer {KEYS['COPE_METRICS_KEY']}"}
    )
    assert answer.status_code == 403


def test_public_metrics(make_proxy):
    """The config can open the metrics, and nothing else."""
    proxy = make_proxy(env=KEYS, metrics={"public": True})
    proxy.cli("keys", "create", "team", check=True)
    wait_until(lambda: proxy.http().get("/v1/models").status_code == 401, "the key to count")
    families(proxy)
    families(proxy, **{"X-Forwarded-For": "10.0.0.1", "Host": "cope.example.com"})
