"""The stand-in stores answers by the vendor's rules, as the official SDK sees them."""

import openai
import pytest

from tests.support.standin_process import StandIn

ASK = {"model": "big-model", "messages": [{"role": "user", "content": "three small words"}]}


def test_responses_are_stored(large_server):
    """A response is stored unless its request forbids it, and is gone after it was deleted."""
    responses = large_server.client().responses
    made = responses.create(model="big-model", input="three small words")
    assert responses.retrieve(made.id).output_text == made.output_text
    assert [e.type for e in responses.retrieve(made.id, stream=True, starting_after=6)] == [
        "response.completed"
    ]
    assert [item.content[0].text for item in responses.input_items.list(made.id)] == ["three small words"]
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        responses.cancel(made.id)
    responses.delete(made.id)
    unstored = responses.create(model="big-model", input="three small words", store=False)
    for id_ in (made.id, unstored.id):
        with pytest.raises(openai.NotFoundError):
            responses.retrieve(id_)


def test_completions_are_stored(large_server):
    """A chat completion is stored only on request. Its metadata can be replaced."""
    completions = large_server.client().chat.completions
    made, unstored = completions.create(**ASK, store=True), completions.create(**ASK)
    assert completions.update(made.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert [c.id for c in completions.list()] == [made.id]
    assert [m.content for m in completions.messages.list(made.id)] == ["three small words"]
    assert completions.delete(made.id).deleted
    for id_ in (made.id, unstored.id):
        with pytest.raises(openai.NotFoundError):
            completions.retrieve(id_)


def test_ids_are_made_up(large_server):
    """On request it serves any model and any id, as the mock servers of SDKs do."""
    with StandIn(made_up=True) as server:
        client = server.client()
        assert client.responses.retrieve("resp_any").id == "resp_any"
        assert client.chat.completions.retrieve("any").id == "any"
        assert client.responses.create().output_text == "ok"
    with pytest.raises(openai.NotFoundError):
        large_server.client().chat.completions.create(**{**ASK, "model": "any"})
