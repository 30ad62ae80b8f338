"""Budgets, keys, reports and prices, as clients, operators and accountants meet them."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import openai
import pytest

from tests.support.config import LARGE_MODEL
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "word " * 190}]  # 950 bytes, so at most some 1040 tokens
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}  # 0.0035 USD
ADMIN = {"Authorization": "Bearer admin-secret"}
ADMIN_ENV = {"COPE_ADMIN_KEY": "admin-secret"}
# Nothing is to be waited for where one request follows another.
SOON = {"wait_s": 0}


def ask(proxy, key="anything", headers=None, **extra):
    given = {"model": f"direct/{LARGE_MODEL}", "messages": ASK, "max_tokens": 100, **extra}
    return proxy.client(key).chat.completions.create(
        extra_headers={"X-COPE-On-Budget": "fail", **(headers or {})}, **given
    )


def new_key(proxy, *options):
    return proxy.cli("keys", "create", "ann", *options, check=True).stdout.strip()


def refused(proxy, *args, **kwargs):
    with pytest.raises(openai.APIStatusError) as e:
        ask(proxy, *args, **kwargs)
    return e.value.status_code, e.value.code


@pytest.mark.parametrize(
    ("budgets", "extra", "scope"),
    [
        ({"global_usd": 0.005, "window": "month"}, {}, "global"),
        ({"users": {"*": {"usd": 0.005, "window": "day"}}}, {"user": "zoe"}, "user"),
        ({"users": {"zoe": {"usd": 0.005}}}, {"headers": {"X-COPE-User": "zoe"}}, "user"),
        ({"tags": {"team=search": {"usd": 0.005, "window": "week"}}}, {"metadata": {"team": "search"}}, "tag"),
        ({"tags": {"team=*": {"usd": 0.005}}}, {"metadata": {"team": "ads"}, "store": True}, "tag"),
    ],
)  # fmt: skip
def test_configured_budgets_stop_requests(make_proxy, large_server, budgets, extra, scope):
    """The first call fits, the next one would not, and the error names the budget."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={**budgets, **SOON})
    assert ask(proxy, **extra).cope["budget_remaining_usd"] == "0.0015"
    with pytest.raises(openai.RateLimitError) as e:
        ask(proxy, **extra)
    assert e.value.code == "insufficient_quota"
    assert f"the {scope} budget leaves 0.0015 of 0.005 USD" in e.value.message
    assert e.value.response.headers["x-should-retry"] == "false"
    assert len(large_server.chats()) == 1


def test_a_budget_covers_nobody_else(make_proxy, large_server):
    """Each end user has a budget of its own, and who names none has none."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"users": {"*": {"usd": 0.005}}, **SOON})
    for user in ("zoe", "tim"):
        ask(proxy, user=user)
    assert refused(proxy, user="zoe") == (429, "insufficient_quota")
    assert "budget_remaining_usd" in ask(proxy).cope


def test_free_request_sets_session_budget(make_proxy, small_server, large_server):
    """The first value stands, also when stage 1 answered; a later, higher one changes nothing."""
    small_server.say("\\boxed{4}")
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets=SOON)
    first = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "0.001"}
    question = [{"role": "user", "content": "What is 2 + 2?"}]
    assert ask(proxy, headers=first, model="cope", messages=question).cope["stage"] == 1
    later = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "5"}
    assert refused(proxy, headers=later) == (429, "insufficient_quota")
    assert refused(proxy, headers={"X-COPE-Session": "s"}) == (429, "insufficient_quota")
    assert large_server.chats() == []


def test_only_admins_raise_sessions(make_proxy, large_server):
    """By the admin API, and it stays raised although the client repeats its header."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets=SOON, env=ADMIN_ENV)
    headers = {"X-COPE-Session": "s", "X-COPE-Session-Budget-USD": "0.0001"}
    assert refused(proxy, headers=headers) == (429, "insufficient_quota")
    url = "/v1/admin/budgets/session/s"
    assert proxy.http().put(url, json={"usd": "1"}).status_code == 403
    assert proxy.http().put(url, json={"usd": "1"}, headers=ADMIN).json()["limit_usd"] == "1"
    assert ask(proxy, headers=headers).cope["budget_remaining_usd"] == "0.9965"
    assert "session" in proxy.cli("budgets", "list").stdout
    assert proxy.cli("budgets", "set", "session", "nobody", "1").returncode == 1


def test_concurrent_requests_never_overspend(make_proxy, large_server):
    """Forty requests at once on a budget for ten: money that is only reserved is waited for."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"global_usd": 0.04, "wait_s": 30})

    def one(_):
        try:
            return ask(proxy).cope["cost_usd"]
        except openai.RateLimitError:
            return None

    with ThreadPoolExecutor(40) as pool:
        costs = list(pool.map(one, range(40)))
    assert [c for c in costs if c] == ["0.0035"] * 11
    assert len(large_server.chats()) == 11


def test_keys_have_rules(make_proxy, large_server):
    """What `keys create` says holds."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets=SOON)
    key = new_key(
        proxy, "--budget", "0.005", "--model", f"direct/{LARGE_MODEL}", "--model", "cope", "--mode", "large"
    )
    assert ask(proxy, key).cope["budget_remaining_usd"] == "0.0015"
    assert refused(proxy, key) == (429, "insufficient_quota")
    assert refused(proxy, key, model="small") == (403, "model_not_allowed")
    assert refused(proxy, key, model="cope") == (403, "mode_not_allowed")
    assert refused(proxy, "sk-nobody") == (401, "invalid_api_key")
    listed = proxy.cli("keys", "list").stdout
    assert "0.005 / total" in listed
    assert key not in listed


def test_rate_limit_is_enforced(make_proxy, large_server):
    """Requests and tokens a minute; the error tells an SDK when to come back."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    busy, heavy = new_key(proxy, "--rpm", "2"), new_key(proxy, "--tpm", "1000")

    def use_up(key, allowed):
        # A minute of the clock may end in between: then there is room for one more round.
        for _ in range(2 * allowed + 1):
            try:
                ask(proxy, key)
                proxy.http(headers={"Authorization": f"Bearer {key}"}).get(
                    "/v1/spend"
                )  # its rows are there now
            except openai.RateLimitError as e:
                return e
        return None

    error = use_up(busy, 2)
    assert error.code == "rate_limit_exceeded"
    assert 0 < int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["x-ratelimit-limit-requests"] == "2"
    assert "tokens" in use_up(heavy, 1).message


def test_keys_rotate_and_end(make_proxy, large_server):
    """An expired key is none; after a rotation the new secret works and the old one as long as it was given."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(env=ADMIN_ENV)
    admin = proxy.http(headers=ADMIN)
    made = admin.post(
        "/v1/admin/keys", json={"name": "bob", "budget_usd": "1", "tokens_per_minute": 100000}
    ).json()
    assert ask(proxy, made["key"]).cope["budget_remaining_usd"] == "0.9965"
    past = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    dead = admin.post("/v1/admin/keys", json={"name": "old", "expires_at": past}).json()
    assert refused(proxy, dead["key"]) == (401, "invalid_api_key")
    kept = admin.post(f"/v1/admin/keys/{made['id']}/rotate", json={"grace_s": 3600}).json()
    assert kept["key"].startswith(f"sk-cope-{made['id']}-")
    # The same key: what was spent under the old secret still counts.
    assert ask(proxy, kept["key"]).cope["budget_remaining_usd"] == "0.993"
    ask(proxy, made["key"])
    last = admin.post(f"/v1/admin/keys/{made['id']}/rotate", json={}).json()
    assert refused(proxy, kept["key"]) == (401, "invalid_api_key")
    assert admin.delete(f"/v1/admin/keys/{made['id']}").json()["revoked"] is True
    assert refused(proxy, last["key"]) == (401, "invalid_api_key")
    assert admin.delete(f"/v1/admin/keys/{made['id']}").status_code == 404
    told = json.dumps(admin.get("/v1/admin/keys").json())
    assert all(k["key"] not in told for k in (made, kept, last, dead))


def test_client_keys_are_not_admins(make_proxy):
    """Keys cannot mint keys; a bad body is told what is wrong."""
    proxy = make_proxy(env=ADMIN_ENV)
    key = new_key(proxy)
    mine = proxy.http(headers={"Authorization": f"Bearer {key}"})
    assert mine.post("/v1/admin/keys", json={"name": "x"}).status_code == 403
    admin = proxy.http(headers=ADMIN)
    for body in ({}, {"name": "x", "budget_usd": "-1"}, {"name": "x", "bugdet": 1}, {"name": ""}):
        answer = admin.post("/v1/admin/keys", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), body


def test_admin_api_needs_a_key(proxy):
    """An open proxy on loopback is no admin's."""
    answer = proxy.http().get("/v1/admin/keys")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_key_not_set")


@pytest.mark.parametrize("stream", [False, True])
def test_streams_cost_the_same(make_proxy, large_server, stream):
    """Also for a client that does not ask for usage."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    answer = ask(proxy, stream=stream)
    if stream:
        assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == "hi"
    (row,) = wait_until(lambda: proxy.rows("SELECT cost_nano, estimated FROM calls"), "the row")
    assert (row["cost_nano"], row["estimated"]) == (3_500_000, 0)


def test_overrun_closes_the_budget(make_proxy, large_server):
    """The bill is booked as it is; the next request is refused."""
    large_server.say("hi", usage={"prompt_tokens": 1000, "completion_tokens": 5000, "total_tokens": 6000})
    proxy = make_proxy(budgets={"global_usd": 0.02, **SOON})
    answer = ask(proxy)
    assert answer.cope["cost_usd"] == "0.0525"
    assert answer.cope["budget_remaining_usd"] == "0"
    assert refused(proxy) == (429, "insufficient_quota")
    shown = proxy.cli("requests", "show", answer.cope["request_id"]).stdout
    assert "overrun" in shown
    assert "ignored its limits" in proxy.output()


def call_row(proxy):
    return wait_until(
        lambda: proxy.rows("SELECT cost_nano, completion_tokens, estimated, finish_reason, error FROM calls"),
        "the row",
    )[-1]


def test_billed_calls_are_not_retried(make_proxy, large_server):
    """A connection lost before the answer: one reservation pays for one call, and it stays at its worst case."""
    large_server.script({"reply": {"content": "hi", "break_after": 0}})
    proxy = make_proxy(large={"max_retries": 3})
    assert refused(proxy, max_tokens=50) == (502, "upstream_broken")
    assert len(large_server.chats()) == 1
    row = call_row(proxy)
    assert (row["estimated"], row["completion_tokens"]) == (1, 50)
    assert row["cost_nano"] >= 50 * 10_000


def test_refusals_are_free_and_retried(make_proxy, large_server):
    """An error status says that nothing was generated: the retry is part of the same call."""
    large_server.script(
        {"match": {"nth": 1}, "reply": {"status": 503}}, {"reply": {"content": "hi", "usage": USAGE}}
    )
    proxy = make_proxy()
    assert ask(proxy).cope["cost_usd"] == "0.0035"
    assert len(large_server.chats()) == 2
    assert len(proxy.rows("SELECT id FROM calls")) <= 1


@pytest.mark.parametrize(
    ("extra", "least"), [({}, 6), ({"reasoning_effort": "high"}, 100)], ids=["visible", "hidden"]
)
def test_broken_streams_are_counted(make_proxy, large_server, extra, least):
    """At what was seen ("one two three four five " is six tokens); at the bound where the model may have thought unseen."""
    large_server.script({"reply": {"content": "one two three four five six seven", "break_after": 6}})
    proxy = make_proxy()
    with pytest.raises(openai.APIError):
        list(ask(proxy, stream=True, **extra))
    row = call_row(proxy)
    assert (row["estimated"], row["completion_tokens"]) == (1, least)
    assert row["error"] == "502 upstream_broken"


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_is_counted(make_proxy, large_server, stream):
    """An upstream that says nothing in time: 504 or a broken stream, and a row that is marked."""
    large_server.script({"reply": {"content": "one two three", "stall_after": 3}})
    proxy = make_proxy(large={"timeout_s": 0.5})
    with pytest.raises(openai.APIError):
        list(ask(proxy, stream=stream))
    assert call_row(proxy)["estimated"] == 1
    assert proxy.rows("SELECT sum(amount_nano) AS held FROM reservations")[0]["held"] is None


def test_sent_limit_is_reserved(make_proxy, large_server):
    """While the upstream works, exactly its worst case is reserved: prompt bound plus n times the output bound."""
    large_server.script({"reply": {"content": "hi", "release": "go"}})
    proxy = make_proxy(budgets={"global_usd": 1})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, proxy, n=3, max_tokens=50)
        large_server.wait_waiting("go", 1)
        (held,) = proxy.rows("SELECT amount_nano FROM reservations")
        large_server.open_gate("go")
        waiting.result()
    (sent,) = large_server.chats()
    assert (sent["body"]["n"], sent["body"]["max_tokens"]) == (3, 50)
    prompt = (held["amount_nano"] - 3 * 50 * 10_000) / 2_500
    assert prompt == int(prompt)
    assert 1000 < prompt < 1200


def test_cut_limit_fits_the_budget(make_proxy, large_server):
    """Where the whole answer does not fit, the upstream is told a shorter one, and that is reserved."""
    large_server.say("hi")
    proxy = make_proxy(budgets=SOON)
    ask(proxy, headers={"X-COPE-Budget-USD": "0.0045"}, max_tokens=5000)
    (sent,) = large_server.chats()
    assert 64 <= sent["body"]["max_tokens"] < 200


@pytest.mark.parametrize("headers", [{}, {"X-COPE-Session": "s"}], ids=["no budget", "session"])
def test_greedy_client_harms_nobody(make_proxy, large_server, headers):
    """A worst case beyond any column of the database: the call is made and booked, and so is the next one."""
    price = {"input_per_mtok": 1, "cached_input_per_mtok": None, "output_per_mtok": 10**9}
    proxy = make_proxy(budgets=SOON, prices={LARGE_MODEL: price})
    for most in (2**31, 100):
        assert ask(proxy, headers=headers, max_tokens=most).choices[0].message.content == "ok"
    proxy.http().get("/v1/spend")
    assert len(proxy.rows("SELECT id FROM calls")) == 2
    assert proxy.rows("SELECT id FROM reservations") == []


def test_prices_of_the_past_stay(make_proxy, large_server):
    """A changed price bills new calls; what is on record keeps the price that it was billed at."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    before = ask(proxy).cope["request_id"]
    proxy.stop()
    text = proxy.config_file.read_text().replace('"output_per_mtok" = 10', '"output_per_mtok" = 20')
    text = text.replace("output_per_mtok = 10", "output_per_mtok = 20")
    proxy.config_file.write_text(text)
    proxy.start()
    assert ask(proxy).cope["cost_usd"] == "0.0045"
    proxy.http().get("/v1/spend")  # waits until the rows are there
    prices = proxy.rows(
        "SELECT output_per_mtok_nano AS o, cost_nano AS c, price_source AS s FROM calls ORDER BY started_at"
    )
    assert [(p["o"], p["c"], p["s"]) for p in prices] == [
        (10_000_000_000, 3_500_000, "config"), (20_000_000_000, 4_500_000, "config"),
    ]  # fmt: skip
    assert "0.0035" in proxy.cli("requests", "show", before).stdout
    assert "20" in proxy.cli("prices", "list").stdout


def test_prices_match_published_ones(make_proxy):
    """A config that says something else than the vendor is told so, by the exit code too."""
    proxy = make_proxy(
        large={"model": "gpt-4o", "models": ["gpt-4o-mini"]},
        prices={LARGE_MODEL: None, "gpt-4o-mini": {"input_per_mtok": 99, "output_per_mtok": 99}},
    )
    done = proxy.cli("prices", "check")
    assert done.returncode == 1
    assert "DIFF  99/99 in the config, 0.15/0.6 published: gpt-4o-mini" in done.stdout
    assert "genai-prices" in proxy.cli("prices", "list").stdout


def test_reports_in_every_form(make_proxy, small_server, large_server):
    """The same figures as a table, JSON, CSV and Parquet, for the ranges that a person types."""
    import pyarrow.parquet as pq

    small_server.say("\\boxed{4}")
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy()
    for i in range(3):
        ask(proxy, user="zoe", metadata={"team": f"t{i % 2}"})
    ask(proxy, model="cope", messages=[{"role": "user", "content": "What is 2 + 2?"}])
    assert len(proxy.http().get("/v1/spend/requests").json()["data"]) == 4

    def spend(*args):
        return json.loads(proxy.cli("spend", "--json", *args, check=True).stdout)

    month = f"{datetime.now(UTC):%Y-%m}"
    for when in (
        (),
        ("--since", "7d"),
        ("--since", "2h"),
        ("--month", month),
        ("--since", "today", "--until", "9999-01-01"),
    ):
        (day,) = spend("--by", "day", *when)
        assert (day["requests"], day["cost_usd"], day["escalated"]) == (4, "0.0105", 0), when
        assert day["p50_ms"] is not None
    assert spend("--month", "2020-01") == []
    assert {r["group"]: r["requests"] for r in spend("--by", "tag")} == {"team=t0": 2, "team=t1": 1, None: 1}
    assert {r["group"]: r["cost_usd"] for r in spend("--by", "user")} == {"zoe": "0.0105", None: "0"}
    assert {r["group"]: r["requests"] for r in spend("--by", "tier")}["large"] == 3
    assert {r["group"]: r["cost_usd"] for r in spend("--by", "model")}[LARGE_MODEL] == "0.0105"
    (row,) = csv.DictReader(io.StringIO(proxy.cli("spend", "--csv", check=True).stdout))
    assert row["cost_usd"] == "0.0105"
    proxy.cli("spend", "--parquet", str(proxy.folder / "spend.parquet"), check=True)
    (line,) = pq.read_table(proxy.folder / "spend.parquet").to_pylist()
    assert str(line["cost_usd"]) == "0.010500000"
    assert "large model" in proxy.cli("spend").stdout
    bad = proxy.cli("spend", "--since", "soon")
    assert bad.returncode == 2
    assert "7d" in bad.stderr
    api = proxy.http().get("/v1/spend", params={"by": "tag", "since": "7d"}).json()
    assert {r["group"]: r["cost_usd"] for r in api["data"]}["team=t0"] == "0.007"
    assert proxy.http().get("/v1/spend", params={"since": "soon"}).status_code == 400


def test_content_goes_sooner_than_numbers(make_proxy, large_server):
    """Pruning text leaves the figures, pruning rows leaves the sums."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(ledger={"store_content": True})
    ask(proxy)
    proxy.stop()
    assert proxy.rows("SELECT prompt FROM requests")[0]["prompt"]
    assert "1 requests" in proxy.cli("ledger", "prune", "--content-only", "--older-than", "0").stdout
    assert proxy.rows("SELECT prompt, answer, cost_nano FROM requests") == [
        {"prompt": None, "answer": None, "cost_nano": 3_500_000}
    ]
    assert "1 requests" in proxy.cli("ledger", "prune", "--older-than", "0").stdout
    assert proxy.rows("SELECT id FROM requests") == []
    (day,) = json.loads(proxy.cli("spend", "--json").stdout)
    assert day["cost_usd"] == "0.0035"
