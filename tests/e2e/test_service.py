"""Models, health, spend and keys."""

import openai
import pytest

pytestmark = pytest.mark.slow


def test_models_are_listed(proxy):
    """The SDK lists the alias, the large model and the direct names."""
    with proxy.client() as client:
        names = {m.id for m in client.models.list()}
        assert client.models.retrieve("cope").id == "cope"
        assert client.models.retrieve("direct/big-model").id == "direct/big-model"
    assert {"cope", "big-model", "small", "direct/big-model"} <= names


def test_health_and_metrics(proxy):
    """Live, ready and metrics answer."""
    with proxy.http() as http:
        assert http.get("/health/live").json() == {"status": "ok"}
        assert http.get("/health/ready").json() == {"ready": True, "database": True, "small": True}
        assert b"cope_small_available 1.0" in http.get("/metrics").content


def test_encodings_wait_for_nobody(make_proxy, tmp_path):
    """The encodings of the large models are loaded before the first request, so that none waits for them."""
    models = {"model": "gpt-4o-mini", "models": ["gpt-4"]}
    make_proxy(large=models, env={"XDG_CACHE_HOME": str(tmp_path), "TIKTOKEN_CACHE_DIR": ""})
    assert len(list((tmp_path / "cope-proxy" / "tiktoken").iterdir())) == 2


def test_keys_see_their_own(make_proxy, large_server):
    """With a key made, a wrong key is a 401, the right one works, and spend is its own."""
    proxy = make_proxy()
    made = [proxy.cli("keys", "create", name).stdout.strip() for name in ("ann", "bob")]
    question = {"model": "direct/big-model", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(openai.AuthenticationError):
        proxy.client("sk-wrong").chat.completions.create(**question)
    proxy.client(made[0]).chat.completions.create(**question)
    with proxy.http() as http:
        seen = [
            http.get("/v1/spend/requests", headers={"authorization": f"Bearer {key}"}).json()["data"]
            for key in made
        ]
    assert [len(rows) for rows in seen] == [1, 0]


def test_spend_command_matches_the_ledger(proxy, large_server):
    """`spend --json` sums to the same nano-dollars as the calls."""
    import json

    large_server.script(
        {"reply": {"content": "hi", "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}}
    )
    with proxy.client() as client:
        client.chat.completions.create(model="direct/big-model", messages=[{"role": "user", "content": "x"}])
    with proxy.http() as http:
        http.get("/v1/spend")
    total = sum(row["cost"] for row in json.loads(proxy.cli("spend", "--json").stdout))
    assert total == proxy.rows("SELECT sum(cost_nano) AS total FROM calls")[0]["total"]
