"""A key reaches only the models and the objects of the upstream that it was given."""

import itertools
import random

import openai
import pytest

from tests.support.cascade import MATH, goals_and
from tests.support.config import LARGE_MODEL, SMALL_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN, ADMIN_ENV

pytestmark = pytest.mark.slow

OTHER = "other-model"
SMALL, BIG = "small", LARGE_MODEL
ALLOWED = {
    ("small",): {SMALL},
    ("cope",): {SMALL, BIG},
    (BIG,): {SMALL, BIG},
    (OTHER,): {SMALL, OTHER},
    (f"direct/{OTHER}",): {OTHER},
    ("small", f"direct/{BIG}"): {SMALL, BIG},
    ("cope", OTHER): {SMALL, BIG, OTHER},
    (): {SMALL, BIG, OTHER},
}
"""The names that a key may use, and the models behind them."""
WAYS = list(
    itertools.product(
        ("cope", "small", BIG, f"direct/{BIG}", OTHER, f"direct/{OTHER}"),
        (None, "small", "cascade", "large"),
        (None, "1", "2", "3"),
        (None, [OTHER], [f"direct/{BIG}"]),
    )
)
"""Every way to name a model: the model, the mode, the last stage, and the fallbacks."""


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    """A proxy with keys whose default model never answers, so that fallbacks are used."""
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        env=ADMIN_ENV,
        large={"models": [OTHER], "fallbacks": [OTHER], "max_retries": 0, "breaker_failures": 10**6},
        prices={OTHER: {"input_per_mtok": 1, "output_per_mtok": 1}},
        cascade={"samples": 2, "skip_losses": False},
    ) as process:
        yield process


@pytest.fixture
def unsure(small_server, large_server):
    """A small model that is never sure, and a default large model that only writes guidelines."""
    small_server.script(*goals_and(*map(str, range(97))))
    large_server.script(
        {"match": {"contains": "tell another assistant"}, "reply": {"content": "multiply"}},
        {"match": {"model": BIG}, "reply": {"status": 503}},
        {"reply": {"content": "42"}},
    )


def new_key(proxy, **rules):
    body = {"name": "ann", **rules}
    return proxy.http(headers=ADMIN).post("/v1/admin/keys", json=body).json()["key"]


def post(client, way):
    model, mode, stage, fallbacks = way
    headers = {"X-COPE-Mode": mode, "X-COPE-Max-Stage": stage}
    body = {"model": model, "models": fallbacks, "messages": [{"role": "user", "content": MATH}]}
    return client.post(
        "/v1/chat/completions",
        json={k: v for k, v in body.items() if v is not None},
        headers={k: v for k, v in headers.items() if v is not None},
    )


@pytest.mark.parametrize("names", ALLOWED, ids=lambda names: " ".join(names) or "all")
def test_no_way_reaches_other_models(proxy, small_server, large_server, unsure, names):
    """Whatever a request says, the models that are called are exactly those behind the names of its key."""
    client = proxy.http(headers={"Authorization": f"Bearer {new_key(proxy, models=names)}"})
    plain = [(name, None, None, None) for name in names or ("cope",)]
    for way in (*plain, *random.Random(0).sample(WAYS, 60)):
        answer = post(client, way)
        # Where a fallback is not allowed, the answer is the error of the default model. Some ways allow no model at all.
        assert answer.status_code in (200, 400, 403, 502, 503), (way, answer.text)
    reached = {entry["body"]["model"] for entry in (*small_server.chats(), *large_server.chats())}
    assert {SMALL if name == SMALL_MODEL else name for name in reached} == ALLOWED[names]


def test_models_are_those_of_the_key(proxy):
    """The list of models asks for the key, and has only what the key may use."""
    assert proxy.http().get("/v1/models").status_code == 401
    assert proxy.http().get("/v1/models/cope").status_code == 401
    for rules, names in (
        ({"models": ["cope", f"direct/{OTHER}"]}, {"cope", f"direct/{OTHER}"}),
        ({"modes": ["small"]}, {"small"}),
        ({"models": ["cope", "small"], "modes": ["cascade"]}, {"cope"}),
    ):
        client = proxy.http(headers={"Authorization": f"Bearer {new_key(proxy, **rules)}"})
        assert {m["id"] for m in client.get("/v1/models").json()["data"]} == names
        assert client.get(f"/v1/models/{min(names)}").status_code == 200
        assert client.get(f"/v1/models/{BIG}").json()["error"]["code"] == "model_not_found"


def test_session_names_are_free(proxy, large_server):
    """A session's name and its budget are its key's own."""
    large_server.say("hi")
    session = {"X-COPE-Session": "prod"}
    squatter, owner = (proxy.client(new_key(proxy)) for _ in range(2))
    for client, usd in ((squatter, "0"), (owner, "5")):
        answer = client.chat.completions.create(
            model=f"direct/{OTHER}" if client is owner else "small",
            messages=[{"role": "user", "content": "hi"}],
            extra_headers={**session, "X-COPE-Session-Budget-USD": usd},
        )
        assert answer.choices
    limits = [b["limit_usd"] for b in proxy.http(headers=ADMIN).get("/v1/admin/budgets").json()["data"]]
    assert sorted(limits) == ["0", "5"]
    path = "/v1/admin/budgets/session/prod"
    unclear = proxy.http(headers=ADMIN).put(path, json={"usd": "7"})
    assert (unclear.status_code, unclear.json()["error"]["param"]) == (400, "key")


FOREIGN = [
    {"previous_response_id": "resp_of_ann"},
    {"conversation": "conv_of_ann"},
    {"conversation": {"id": "conv_of_ann"}},
    {"prompt": {"id": "pmpt_of_ann", "variables": {"a": {"type": "input_file", "file_id": "file-ann"}}}},
    {"input": [{"type": "item_reference", "id": "msg_of_ann"}]},
    {"input": [{"type": "reasoning", "id": "rs_of_ann", "summary": []}]},
    {"input": [{"type": "image_generation_call", "id": "ig_of_ann"}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-ann"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-ann"}]}]},
    {"tools": [{"type": "file_search", "vector_store_ids": ["vs_of_ann"]}]},
    {"tools": [{"type": "code_interpreter", "container": "cntr_of_ann"}]},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-ann"]}}]},
    {"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "file-ann"}}]},
]


@pytest.mark.parametrize("names", FOREIGN, ids=lambda body: str(body)[:60])
def test_foreign_objects_are_refused(proxy, large_server, names):
    """An id that a key never got through this proxy is not sent upstream, wherever it is."""
    client = proxy.http(headers={"Authorization": f"Bearer {new_key(proxy)}"})
    answer = client.post("/v1/responses", json={"model": f"direct/{OTHER}", "input": "go", **names})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["code"] in ("object_not_found", "previous_response_not_found")
    assert not [e for e in large_server.log() if e["method"] == "POST"]


def test_own_objects_are_sent(proxy, large_server):
    """A key may name what it got, streamed or not, and no other key may."""
    mine, other = (proxy.client(new_key(proxy)) for _ in range(2))
    model = f"direct/{OTHER}"
    whole = mine.responses.create(model=model, input="hi")
    streamed = list(mine.responses.create(model=model, input="hi", stream=True))[-1].response
    for response in (whole, streamed):
        reference = {"type": "item_reference", "id": response.output[0].id}
        for body in (
            {"model": model, "input": [reference, {"role": "user", "content": "go"}]},
            {"model": model, "input": "go", "previous_response_id": response.id},
        ):
            assert mine.post("/responses", body=body, cast_to=object)
            with pytest.raises(openai.APIStatusError, match="found"):
                other.post("/responses", body=body, cast_to=object)


def test_keys_come_before_bodies(proxy):
    """A request without a key is refused before its body is read, on every path."""
    http = proxy.http()
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"):
        with proxy.sent_head(path, length=10**7) as connection:
            assert connection.recv(12) == b"HTTP/1.1 401"
    for path in ("/v1/spend", "/v1/spend/requests", "/v1/spend/requests/req_1", "/v1/models"):
        assert http.get(path).status_code == 401, path
    assert http.get("/v1/admin/keys").status_code == 401
    with proxy.sent_head("/v1/admin/keys", length=10**7) as connection:
        assert connection.recv(12) == b"HTTP/1.1 401"
