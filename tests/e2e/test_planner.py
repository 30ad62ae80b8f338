"""A planner of its own: another paid model writes the guidelines, at its own price and within the rules of the key."""

from decimal import Decimal

import pytest

from tests.support.cascade import MATH, USAGE, ask
from tests.support.config import LARGE_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN, ADMIN_ENV
from tests.support.standin_process import StandIn

pytestmark = pytest.mark.slow

PLANNER = "mini/planner"
PLANNER_KEY = "sk-planner-secret"
UNSURE = {"reply": {"contents": [f"\\boxed{{{n}}}" for n in range(97)]}}
SURE = {"match": {"contains": "Guideline: multiply"}, "reply": {"content": "\\boxed{42}"}}
NO_GUIDELINE = {"stage": 3, "stages": [1]}


@pytest.fixture(scope="module")
def upstream():
    """The planner's upstream."""
    with StandIn(["planner"], require_key=PLANNER_KEY) as server:
        yield server


def tables(upstream, **changes):
    """Return the tables of a config with a planner of its own."""
    own = {"base_url": upstream.base_url, "api_key_env": "MINI_KEY", "models": ["planner"], "max_retries": 0}
    return {
        "cascade": {"planner": PLANNER, "samples": 4},
        "upstreams": {"mini": {**own, "prompt_cache": "breakpoints", **changes}},
        "prices": {PLANNER: {"input_per_mtok": 1, "output_per_mtok": 2, "cache_write_per_mtok": 1}},
        "env": {"MINI_KEY": PLANNER_KEY, **ADMIN_ENV},
    }


@pytest.fixture(scope="module")
def planned(upstream, small_server, large_server, tmp_path_factory):
    """A proxy whose guidelines come from the planner."""
    folder = tmp_path_factory.mktemp("proxy")
    with ProxyProcess(folder, small_server.base_url, large_server.base_url, **tables(upstream)) as process:
        yield process


@pytest.fixture
def mini(upstream, small_server, large_server):
    """The planner, a small model that is only sure with its guideline, and the large model."""
    upstream.reset()
    upstream.script({"reply": {"content": "multiply", "usage": USAGE}})
    small_server.script(SURE, UNSURE)
    large_server.script({"reply": {"content": "\\boxed{42}", "usage": USAGE}})
    return upstream


def client_of(proxy, *models):
    """Return a client with a new key, which may use these models."""
    body = {"name": "ann", "models": models}
    return proxy.client(proxy.http(headers=ADMIN).post("/v1/admin/keys", json=body).json()["key"])


def calls_of(proxy, answer):
    """Return the paid calls of a request as the ledger has them."""
    read = proxy.http(headers=ADMIN).get(f"/v1/spend/requests/{answer.cope['request_id']}").json()["calls"]
    return [c for c in read if c["tier"] == "large"]


def outcome(answer):
    return {"stage": answer.cope["stage"], "stages": [s["stage"] for s in answer.cope["stages"]]}


def test_planner_writes_the_guideline(planned, mini, large_server):
    """It is called instead of the large model, at its own price, and the ledger names it."""
    proxy = planned
    answer = ask(client_of(proxy))
    assert answer.cope["stage"] == 2
    (sent,) = mini.chats()
    assert sent["body"]["model"] == "planner"
    assert MATH in sent["body"]["messages"][0]["content"]
    assert large_server.chats() == []
    (call,) = calls_of(proxy, answer)
    assert (call["stage"], call["role"], call["model"]) == (2, "planner", PLANNER)
    assert Decimal(answer.cope["cost_usd"]) == Decimal("0.0012")  # 1000 tokens in, 100 out, at 1 and 2 USD
    assert Decimal(answer.cope["baseline_usd"]) > 0


def test_large_model_answers_with_its_guideline(planned, small_server, large_server):
    """Stage 3 gets the planner's guideline. A request that names a large model has the same planner."""
    proxy = planned
    small_server.script(UNSURE)
    for model in ("cope", LARGE_MODEL):
        answer = client_of(proxy).chat.completions.create(
            model=model, messages=[{"role": "user", "content": MATH}]
        )
        assert [(c["role"], c["model"]) for c in calls_of(proxy, answer)] == [
            ("planner", PLANNER),
            ("executor", LARGE_MODEL),
        ]
    assert all("Guideline: multiply" in str(e["body"]["messages"]) for e in large_server.chats())


def test_unavailable_planner_skips_stage_2(make_proxy, mini, large_server):
    """The large model answers without a guideline. After some failures the planner gets no calls for a while."""
    proxy = make_proxy(**tables(mini, breaker_failures=2, breaker_cooldown_s=600))
    mini.script({"reply": {"status": 503}})
    for _ in range(4):
        answer = ask(proxy.client())
        assert outcome(answer) == NO_GUIDELINE
        assert answer.cope["cost_usd"] == answer.cope["baseline_usd"]
    assert len(mini.chats()) == 2
    assert len(large_server.chats()) == 4
    assert all("Guideline" not in str(e["body"]) for e in large_server.chats())


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (["cope"], "cope", True),
        ([LARGE_MODEL], LARGE_MODEL, False),
        ([LARGE_MODEL, PLANNER], LARGE_MODEL, True),
        ([LARGE_MODEL, f"direct/{PLANNER}"], LARGE_MODEL, True),
        (["small", f"direct/{LARGE_MODEL}", LARGE_MODEL], LARGE_MODEL, False),
        ([], "cope", True),
    ],
)
def test_planner_obeys_the_key(planned, mini, models, model, allowed):
    """A key of the cascade includes the planner. Any other key has to reach it, or gets no stage 2."""
    proxy = planned
    answer = client_of(proxy, *models).chat.completions.create(
        model=model, messages=[{"role": "user", "content": MATH}]
    )
    assert len(mini.chats()) == allowed
    if allowed:
        assert answer.cope["stage"] == 2
    else:
        assert outcome(answer) == NO_GUIDELINE
        assert answer.cope["reason"] == f"the key may not use the planner '{PLANNER}' (cascade.planner)"


def test_key_of_the_cascade_gets_no_answers_of_the_planner(planned, mini, large_server):
    """The planner is for guidelines only, although it is in the cascade that the key may use."""
    proxy = planned
    http = proxy.http(headers={"Authorization": f"Bearer {client_of(proxy, 'cope').api_key}"})
    for body in ({"model": f"direct/{PLANNER}"}, {"model": PLANNER}, {"model": "cope", "models": [PLANNER]}):
        asked = {**body, "messages": [{"role": "user", "content": MATH}]}
        assert http.post("/v1/chat/completions", json=asked).status_code == 403
    assert mini.chats() == large_server.chats() == []


def test_worst_case_has_the_price_of_the_planner(planned, mini):
    """A budget that covers the planner, but not a guideline at the large model's price, buys one. A smaller one does not."""
    short = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    mini.script({"reply": {"content": "multiply", "usage": short}})
    client = client_of(planned)
    assert ask(client, extra_headers={"X-COPE-Budget-USD": "0.0008"}).cope["stage"] == 2
    assert len(mini.chats()) == 1
    answer = ask(client, extra_headers={"X-COPE-Budget-USD": "0.0005"})
    assert (answer.cope["degraded"], answer.cope["cost_usd"]) == ("budget", "0")
    assert len(mini.chats()) == 1


def test_guideline_is_kept_in_the_conversation(planned, mini):
    """The planner is asked once, and the next turn has its guideline."""
    client = client_of(planned)
    turns = [{"role": "user", "content": MATH}], [{"role": "assistant", "content": "Let me see."}]
    for messages in (turns[0], [*turns[0], *turns[1]]):
        answer = client.chat.completions.create(model="cope", messages=messages)
        assert answer.cope["stage"] == 2
    assert len(mini.chats()) == 1


def test_fields_of_the_answer_stay_away(planned, mini, small_server, large_server):
    """The client sets effort and cache for the large model. The planner may refuse both, and shares no cache with it."""
    proxy = planned
    small_server.script(UNSURE)
    own = {"reasoning_effort": "high", "verbosity": "low", "prompt_cache_key": "mine"}
    assert ask(client_of(proxy), extra_body=own).cope["stage"] == 3
    planner, answerer = mini.chats()[0]["body"], large_server.chats()[0]["body"]
    assert own.keys() & planner.keys() == set()
    assert {name: answerer[name] for name in own} == own
    assert planner["prompt_cache_options"] == {"mode": "explicit"}  # nothing is written
    assert "prompt_cache_breakpoint" not in str(planner)


def test_refused_field_is_learned(make_proxy, small_server, large_server):
    """A planner that refuses a field of the prompt cache costs one guideline, not all."""
    small_server.script(SURE, UNSURE)
    large_server.say("\\boxed{42}")
    with StandIn(["planner"], require_key=PLANNER_KEY, prompt_cache="automatic") as refusing:
        refusing.script({"reply": {"content": "multiply", "usage": USAGE}})
        client = make_proxy(**tables(refusing)).client()
        assert [ask(client).cope["stage"] for _ in range(3)] == [3, 2, 2]
