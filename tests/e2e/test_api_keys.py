"""Keys: their rules, their rotation, and the admin API that creates them."""

import json
from datetime import UTC, datetime

import openai
import pytest

from tests.support.config import LARGE_MODEL
from tests.support.spending import ADMIN, ADMIN_ENV, SOON, USAGE, ask, refused

pytestmark = pytest.mark.slow


def new_key(proxy, *options):
    return proxy.cli("keys", "create", "ann", *options, check=True).stdout.strip()


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
