"""Responses that are read, streamed again, cancelled and deleted later, and compacted: local ones and the upstream's."""

import socket
import sqlite3
from contextlib import closing

import openai
import pytest

from tests.support.config import LARGE_MODEL, UPSTREAM_KEY
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN_ENV
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ASK = "Say hello to the team."
DIRECT = f"direct/{LARGE_MODEL}"
MODELS = pytest.mark.parametrize("model", ["cope", DIRECT], ids=["local", "upstream"])


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"), small_server.base_url, large_server.base_url, env=ADMIN_ENV
    ) as process:
        yield process


@pytest.fixture(scope="module")
def callers(proxy):
    """Clients with a key each, and one with the admin key, which is none of theirs."""
    ann, bob = (
        proxy.client(proxy.cli("keys", "create", name, check=True).stdout.strip()) for name in ("ann", "bob")
    )
    return ann, bob, proxy.client(ADMIN_ENV["COPE_ADMIN_KEY"])


@pytest.fixture
def ann(callers):
    return callers[0]


def created(client, model, **given):
    return client.responses.create(model=model, input=ASK, **given)


@MODELS
def test_response_is_read_again(ann, large_server, model):
    """A stored response is what its client got, from the ledger or from the upstream."""
    made = created(ann, model, metadata={"team": "blue"})
    read = ann.responses.retrieve(made.id)
    assert read.to_dict().items() >= {k: v for k, v in made.to_dict().items() if k != "cope"}.items()
    assert any(e["method"] == "GET" for e in large_server.log()) is (model == DIRECT)


@MODELS
def test_streamed_response_is_stored(ann, model):
    """A response that was streamed is stored too."""
    with ann.responses.stream(model=model, input=ASK) as stream:
        made = stream.get_final_response()
    assert ann.responses.retrieve(made.id).output_text == made.output_text


@MODELS
def test_stream_starts_after_event(ann, small_server, large_server, model):
    """A stored response is streamed again, from any event on."""
    for server in (small_server, large_server):
        server.say("Hello dear team, how are you?")
    made = created(ann, model)
    events = list(ann.responses.retrieve(made.id, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].response.output_text == made.output_text
    for after in (0, 2, len(events)):
        rest = list(ann.responses.retrieve(made.id, stream=True, starting_after=after))
        assert [e.type for e in rest] == [e.type for e in events[after + 1 :]]


@MODELS
def test_input_items_have_pages(ann, model):
    """Each item of the input is listed once, in pages, and in both orders."""
    given = [{"role": "user", "content": f"Word {i}."} for i in range(5)]
    made = ann.responses.create(model=model, input=given, instructions="Be short.")
    for order, texts in (("asc", range(5)), ("desc", range(4, -1, -1))):
        listed = list(ann.responses.input_items.list(made.id, limit=2, order=order))
        assert [item.content[0].text for item in listed] == [f"Word {i}." for i in texts]
        assert len({item.id for item in listed}) == 5


def test_input_items_have_earlier_turns(ann, small_server):
    """The items of a conversation that goes on are its earlier turns and the new message."""
    small_server.say("I am Ann.")
    first = created(ann, "cope")
    second = ann.responses.create(model="cope", input="And where?", previous_response_id=first.id)
    listed = list(ann.responses.input_items.list(second.id, order="asc"))
    assert [item.content[0].text for item in listed] == [ASK, "I am Ann.", "And where?"]


@MODELS
def test_deleted_response_is_gone(ann, large_server, model):
    """A deleted response is neither read nor continued, here and at the upstream."""
    made = created(ann, model)
    ann.responses.delete(made.id)
    for ask in (
        lambda: ann.responses.retrieve(made.id),
        lambda: ann.responses.delete(made.id),
        lambda: ann.responses.input_items.list(made.id),
        lambda: ann.responses.cancel(made.id),
    ):
        with pytest.raises(openai.NotFoundError, match="not found"):
            ask()
    if model == DIRECT:
        deleted = [e for e in large_server.log() if e["method"] == "DELETE"]
        assert [(e["path"], e["status"]) for e in deleted] == [(f"/v1/responses/{made.id}", 200)]


@MODELS
def test_finished_response_is_not_cancelled(ann, model):
    """Only background responses are cancelled, and there are none."""
    made = created(ann, model)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        ann.responses.cancel(made.id)


@MODELS
def test_responses_have_owners(callers, large_server, model):
    """Nobody reads, lists, cancels or deletes a response of another key, and nothing about it goes upstream."""
    ann, *others = callers
    made = created(ann, model)
    asked = len(large_server.log())
    for other in others:
        for ask in (
            other.responses.retrieve,
            other.responses.delete,
            other.responses.cancel,
            other.responses.input_items.list,
        ):
            with pytest.raises(openai.NotFoundError, match="not found"):
                ask(made.id)
    assert len(large_server.log()) == asked
    assert ann.responses.retrieve(made.id).id == made.id


def test_unknown_ids_need_no_key(callers, large_server):
    """An id that nobody got here is unknown to a key. A caller without one may ask the upstream."""
    ann, _, admin = callers
    theirs = large_server.client().responses.create(model=LARGE_MODEL, input=ASK)
    asked = len(large_server.log())
    with pytest.raises(openai.NotFoundError):
        ann.responses.retrieve(theirs.id)
    assert len(large_server.log()) == asked
    assert admin.responses.retrieve(theirs.id).id == theirs.id


@pytest.mark.parametrize(
    "id_", ["%2e%2e", "%2e", "a%2Fb", "%2e%2e%2fmodels", "x" * 129, "a%3Fb", "é", "a b", "-%00-"]
)
def test_odd_ids_stay_here(proxy, large_server, id_):
    """An id that is no id is unknown. It reaches no other path of the upstream."""
    http = proxy.http(headers={"authorization": f"Bearer {ADMIN_ENV['COPE_ADMIN_KEY']}"})
    for path in (f"/v1/responses/{id_}", f"/v1/chat/completions/{id_}", f"/v1/responses/{id_}/input_items"):
        answer = http.get(path)
        assert answer.status_code in (404, 405), path
        assert UPSTREAM_KEY not in answer.text
        assert answer.json()["error"]["message"]
    assert large_server.log() == []


def test_old_responses_are_gone(ann, proxy):
    """A local response is not shown after its retention, even if its row is still there."""
    made = created(ann, "cope")
    with closing(sqlite3.connect(proxy.database, timeout=10)) as connection, connection:
        connection.execute(
            "UPDATE responses SET created_at = '2020-01-01 00:00:00.000000' WHERE id = ?", [made.id]
        )
    with pytest.raises(openai.NotFoundError):
        ann.responses.retrieve(made.id)


def test_unstored_response_is_unknown(ann):
    """A response with `store: false` cannot be read."""
    with pytest.raises(openai.NotFoundError):
        ann.responses.retrieve(created(ann, "cope", store=False).id)


def test_model_is_optional(ann, small_server, large_server):
    """A response without a model is answered by the cascade. One without an input goes to the large model."""
    small_server.say("Hello.")
    assert ann.responses.create(input=ASK).cope["stage"] == 1
    assert ann.responses.create().cope["stage"] == 3
    assert large_server.log()[-1]["body"]["model"] == LARGE_MODEL


def test_input_tokens_are_free(ann, proxy, large_server):
    """Counting costs nothing, needs no budget, and leaves a row in the ledger."""
    given = {"input": ASK, "extra_headers": {"X-COPE-Budget-USD": "0", "X-COPE-Session": "count"}}
    for model in ({}, {"model": DIRECT}):
        counted = ann.responses.input_tokens.count(**model, **given)
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", 5)
    assert large_server.log()[-1]["body"] == {"model": LARGE_MODEL, "input": ASK}
    counting = "SELECT cost_nano, status FROM requests WHERE session = 'count'"
    rows = wait_until(lambda: len(found := proxy.rows(counting)) == 2 and found, "the rows of both requests")
    assert [(row["cost_nano"], row["status"]) for row in rows] == [(0, 200)] * 2


def test_compaction_is_paid(ann, large_server):
    """A compaction is booked at its usage, and its items go into the next request."""
    large_server.say("what was said", usage={"prompt_tokens": 1000, "completion_tokens": 100})
    made = ann.responses.compact(model=DIRECT, input=ASK, extra_headers={"X-COPE-Budget-USD": "2"})
    assert made.object == "response.compaction"
    assert made.cope["cost_usd"] == "0.0035"
    items = [item.to_dict() for item in made.output]
    ann.responses.create(model="cope", input=[*items, {"role": "user", "content": "Go on."}])
    assert large_server.log()[-1]["body"]["input"][0]["encrypted_content"] == "what was said"


def test_compaction_fits_budget(ann, large_server):
    """A compaction whose longest output does not fit into the budget is refused before it is sent."""
    with pytest.raises(openai.RateLimitError):
        ann.responses.compact(model=DIRECT, input=ASK, extra_headers={"X-COPE-Budget-USD": "1"})
    assert large_server.log() == []


def test_local_conversation_is_compacted(ann, large_server, small_server):
    """A compaction of a local response sends its whole conversation upstream, which does not know its id."""
    small_server.say("I am Ann.")
    first = created(ann, "cope")
    ann.responses.compact(model="cope", previous_response_id=first.id)
    sent = large_server.log()[-1]
    assert sent["path"] == "/v1/responses/compact"
    assert [i["role"] for i in sent["body"]["input"]] == ["user", "assistant"]
    assert "previous_response_id" not in sent["body"]


@MODELS
def test_nobody_compacts_anothers_conversation(callers, large_server, model):
    """The response that a compaction or a count continues has to be one of the same key."""
    ann, bob, _ = callers
    made = created(ann, model)
    asked = len(large_server.log())
    for ask in (bob.responses.compact, bob.responses.input_tokens.count):
        with pytest.raises(openai.BadRequestError, match="not found"):
            ask(model=DIRECT, previous_response_id=made.id)
    assert len(large_server.log()) == asked


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("{id}/input_items", "limit=-1"),
        ("{id}/input_items", "limit=101"),
        ("{id}/input_items", "limit=1e3"),
        ("{id}/input_items", "order=up"),
        ("{id}", "stream=true&starting_after=x"),
    ],
)
def test_bad_queries_are_named(proxy, ann, path, query):
    """A parameter that cannot be read is refused by its name."""
    made = created(ann, "cope")
    http = proxy.http(headers={"authorization": f"Bearer {ann.api_key}"})
    answer = http.get(f"/v1/responses/{path.format(id=made.id)}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in query


def test_wrong_methods_name_right_ones(proxy, ann):
    """A method that an object does not have is a 405 with those that it has."""
    http = proxy.http(headers={"authorization": f"Bearer {ann.api_key}"})
    for method, path, allowed in (
        ("PUT", "/v1/responses/resp_1", "OPTIONS, GET, DELETE"),
        ("GET", "/v1/responses/resp_1/cancel", "OPTIONS, POST"),
        ("PATCH", "/v1/chat/completions/c1", "OPTIONS, GET, POST, DELETE"),
        ("GET", "/v1/responses/compact", "OPTIONS, POST"),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_objects_need_the_key(proxy, callers):
    """Every request for a stored object needs a key as soon as one exists."""
    del callers
    http = proxy.http()
    for method, path in (
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/c1"),
        ("DELETE", f"/v1/models/{LARGE_MODEL}"),
    ):
        assert http.request(method, path).status_code == 401, path


def test_models_are_not_deleted(ann, large_server):
    """Deleting a model is refused in words, and the upstream hears nothing of it."""
    with pytest.raises(openai.PermissionDeniedError, match="cannot be deleted through this proxy") as e:
        ann.models.delete("ft:gpt-4o-mini:acemeco:suffix:abc123")
    assert e.value.code == "model_not_deletable"
    assert large_server.log() == []


def test_upstream_errors_are_passed_on(callers, large_server):
    """What the upstream says of an object that it has lost reaches the client."""
    ann, *_ = callers
    made = created(ann, DIRECT)
    large_server.reset()  # forgets what it has stored
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
        ann.responses.retrieve(made.id)


def test_unreachable_upstream_is_named(make_proxy):
    """While no key exists, an id of the upstream needs the upstream. The list needs only the ledger."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        proxy = make_proxy(large_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        http = proxy.http()
        for path in ("/v1/responses/resp_1", "/v1/responses/resp_1?stream=true", "/v1/chat/completions/c"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
            assert answer.headers["x-request-id"]
        assert http.get("/v1/chat/completions").json()["data"] == []
