"""Chat completions that are stored, listed, read, labelled and deleted: local ones and the upstream's."""

import sqlite3
from contextlib import closing

import openai
import pytest

from tests.support.config import LARGE_MODEL, SMALL_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN_ENV

pytestmark = pytest.mark.slow

ASK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Say hello to the team."}]
DIRECT = f"direct/{LARGE_MODEL}"
MODELS = pytest.mark.parametrize("model", ["cope", DIRECT], ids=["local", "upstream"])
SERVED = {"cope": SMALL_MODEL, DIRECT: LARGE_MODEL}


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"), small_server.base_url, large_server.base_url, env=ADMIN_ENV
    ) as process:
        yield process


@pytest.fixture
def new_client(proxy):
    """Return a client with a key of its own, which has stored nothing."""
    admin = proxy.http(headers={"authorization": f"Bearer {ADMIN_ENV['COPE_ADMIN_KEY']}"})

    def make():
        return proxy.client(admin.post("/v1/admin/keys", json={"name": "ann"}).json()["key"])

    return make


@pytest.fixture
def ann(new_client):
    return new_client()


def stored(client, model, **given):
    return client.chat.completions.create(model=model, messages=ASK, store=True, **given)


def ids(page):
    return [completion.id for completion in page]


@MODELS
def test_completion_is_read_again(ann, model):
    """A stored completion is what its client got, with its metadata."""
    made = stored(ann, model, metadata={"team": "blue"})
    read = ann.chat.completions.retrieve(made.id)
    assert read.choices == made.choices
    assert read.metadata == {"team": "blue"}


@MODELS
def test_streamed_completion_is_stored(ann, model):
    """A completion that was streamed is stored too, whether its client wants the usage or not."""
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(stored(ann, model, stream=True, **options))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        read = ann.chat.completions.retrieve(chunks[0].id)
        assert read.choices[0].message.content == text


def test_list_has_pages(ann):
    """Local and upstream completions are listed once each, in pages, and in both orders."""
    made = [stored(ann, model).id for model in ("cope", DIRECT, "cope", DIRECT, "cope")]
    assert ids(ann.chat.completions.list(limit=2)) == made
    assert ids(ann.chat.completions.list(limit=2, order="desc")) == made[::-1]
    assert ids(ann.chat.completions.list(after=made[1])) == made[2:]
    assert ids(ann.chat.completions.list(after="unknown")) == []
    assert ids(ann.chat.completions.list(limit=0).data) == []


def test_list_is_filtered(ann):
    """The model and pairs of metadata choose completions, whatever characters they have."""
    odd = {'quo"te': "a\\b", "üñ": "☃ %_", "": "empty"}
    first = stored(ann, "cope", metadata={"team": "blue", **odd}).id
    second = stored(ann, DIRECT, metadata={"team": "Blue", "x": "1"}).id
    listed = ann.chat.completions.list
    assert ids(listed(model=SMALL_MODEL)) == [first]
    assert ids(listed(model=LARGE_MODEL)) == [second]
    assert ids(listed(model="other")) == []
    assert ids(listed(metadata={"team": "blue"})) == [first]
    assert ids(listed(metadata={"team": "blue", "x": "1"})) == []
    assert ids(listed(metadata={"x": "%"})) == []
    for key, value in odd.items():
        assert ids(listed(metadata={key: value})) == [first], key


@MODELS
def test_metadata_is_replaced(ann, large_server, model):
    """New metadata are read, listed and sent to the upstream that keeps the completion."""
    made = stored(ann, model, metadata={"team": "blue"})
    changed = ann.chat.completions.update(made.id, metadata={"team": "red"})
    assert (changed.id, changed.metadata) == (made.id, {"team": "red"})
    assert ann.chat.completions.retrieve(made.id).metadata == {"team": "red"}
    assert ids(ann.chat.completions.list(metadata={"team": "red"})) == [made.id]
    assert ids(ann.chat.completions.list(metadata={"team": "blue"})) == []
    sent = [e["body"] for e in large_server.log() if e["path"].endswith(made.id) and e["method"] == "POST"]
    assert len(sent) == (model == DIRECT)


@pytest.mark.parametrize(
    "metadata",
    [
        ["a"],
        "a",
        {"a": 1},
        {"a": None},
        {"a": "x" * 513},
        {"k" * 65: "a"},
        {str(i): "a" for i in range(17)},
    ],
    ids=["array", "text", "number", "null value", "long value", "long key", "many"],
)
def test_bad_metadata_is_refused(ann, metadata):
    """Metadata that OpenAI would not take change nothing."""
    made = stored(ann, "cope", metadata={"team": "blue"})
    with pytest.raises(openai.BadRequestError, match="metadata"):
        ann.chat.completions.update(made.id, metadata=metadata)
    assert ann.chat.completions.retrieve(made.id).metadata == {"team": "blue"}


@MODELS
def test_messages_have_pages(ann, model):
    """The messages of the request are listed in pages, each with an id."""
    made = stored(ann, model)
    listed = list(ann.chat.completions.messages.list(made.id, limit=1))
    assert [m.content for m in listed] == [m["content"] for m in ASK]
    assert [m.id for m in listed] == [f"{made.id}-0", f"{made.id}-1"]


def test_message_parts_are_kept(ann):
    """A message of parts is listed with its parts."""
    parts = [{"type": "text", "text": "Say hello to the team."}]
    made = ann.chat.completions.create(
        model="cope", messages=[{"role": "user", "content": parts}], store=True
    )
    (listed,) = ann.chat.completions.messages.list(made.id)
    assert listed.content is None
    assert [part.to_dict() for part in listed.content_parts] == parts


@MODELS
def test_deleted_completion_is_gone(ann, model):
    """A deleted completion is neither read nor listed, here and at the upstream."""
    made = stored(ann, model)
    deleted = ann.chat.completions.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "chat.completion.deleted")
    for ask in (
        lambda: ann.chat.completions.retrieve(made.id),
        lambda: ann.chat.completions.delete(made.id),
        lambda: ann.chat.completions.update(made.id, metadata={}),
        lambda: ann.chat.completions.messages.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError, match="not found"):
            ask()
    assert ids(ann.chat.completions.list()) == []


@MODELS
def test_completions_have_owners(ann, new_client, large_server, model):
    """Nobody reads, lists, changes or deletes a completion of another key, and nothing about it goes upstream."""
    made, bob = stored(ann, model), new_client()
    asked = len(large_server.log())
    for ask in (
        lambda: bob.chat.completions.retrieve(made.id),
        lambda: bob.chat.completions.delete(made.id),
        lambda: bob.chat.completions.update(made.id, metadata={}),
        lambda: bob.chat.completions.messages.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError, match="not found"):
            ask()
    assert ids(bob.chat.completions.list()) == []
    assert ids(bob.chat.completions.list(after=made.id)) == []
    assert len(large_server.log()) == asked
    assert ids(ann.chat.completions.list()) == [made.id]


@MODELS
def test_completions_are_stored_on_request(ann, model):
    """A completion is stored only if its client asks for it."""
    for store in ({}, {"store": False}, {"store": None}):
        made = ann.chat.completions.create(model=model, messages=ASK, **store)
        with pytest.raises(openai.NotFoundError):
            ann.chat.completions.retrieve(made.id)
    assert ids(ann.chat.completions.list()) == []


def test_old_completions_are_gone(ann, proxy):
    """A local completion is not shown after its retention, even if its row is still there."""
    made = stored(ann, "cope")
    with closing(sqlite3.connect(proxy.database, timeout=10)) as connection, connection:
        connection.execute(
            "UPDATE chat_completions SET created_at = '2020-01-01 00:00:00.000000' WHERE id = ?", [made.id]
        )
    with pytest.raises(openai.NotFoundError):
        ann.chat.completions.retrieve(made.id)
    assert ids(ann.chat.completions.list()) == []


def test_lost_completion_is_not_listed(ann, large_server):
    """A completion that its upstream has lost is missing in the list, and the others are there."""
    stored(ann, DIRECT)
    kept = stored(ann, "cope")
    large_server.reset()  # forgets what it has stored
    assert ids(ann.chat.completions.list()) == [kept.id]


@pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_tokens": 0, "max_completion_tokens": 0}])
@MODELS
def test_limits_of_zero_limit_nothing(ann, large_server, model, limits):
    """The specification allows output limits of 0. They count as absent, because upstreams read them differently."""
    assert ann.chat.completions.create(model=model, messages=ASK, **limits).choices[0].message.content == "ok"
    for entry in large_server.chats():
        assert 0 not in (entry["body"].get("max_tokens"), entry["body"].get("max_completion_tokens"))


def test_zeros_of_completions_pass(ann, large_server):
    """Every zero that the specification allows reaches the upstream."""
    zeros = {"best_of": 0, "logprobs": 0, "max_tokens": 0, "seed": 0, "echo": True}
    ann.completions.create(model=DIRECT, prompt="This is a test.", **zeros)
    assert large_server.log()[-1]["body"].items() >= zeros.items()
