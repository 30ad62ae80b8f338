"""An answer in the other form stays the same answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.formats.converted import as_complete, as_events

texts = st.text(max_size=20)
usages = st.none() | st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)}
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", min_size=1, max_size=5),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": texts, "arguments": texts}),
        }
    ),
    min_size=1,
    max_size=3,
)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts},
    optional={"tool_calls": calls, "refusal": texts, "reasoning_content": texts},
)
logprobs = st.none() | st.just({"content": [{"token": "a", "logprob": -1.0}], "refusal": None})


def choices(of):
    made = st.lists(st.fixed_dictionaries({**of, "finish_reason": st.sampled_from(["stop", "length"]), "logprobs": logprobs}),
                    min_size=1, max_size=3)  # fmt: skip
    return made.map(lambda found: [{"index": i, **choice} for i, choice in enumerate(found)])


def answers(kind, of):
    return st.fixed_dictionaries(
        {"id": texts, "object": st.just(kind), "choices": choices(of), "usage": usages}
    )


def there_and_back(path, answer):
    events = [json.loads(event) for event in as_events(path, answer)]
    return as_complete(path, events), events


def without_none(answer):
    return {k: v for k, v in answer.items() if v is not None}


@given(answers("chat.completion", {"message": messages}))
def test_chat_answers(answer):
    """A chat completion survives being a stream."""
    back, events = there_and_back("/chat/completions", answer)
    assert back["choices"] == answer["choices"]
    assert without_none(back) == without_none(answer)
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


@given(answers("text_completion", {"text": texts}))
def test_text_answers(answer):
    """A completion survives being a stream."""
    back, _ = there_and_back("/completions", answer)
    assert without_none(back) == without_none(answer)


def test_response_answers():
    """A response survives being a stream, and its texts are deltas."""
    part = {"type": "output_text", "text": "hello", "annotations": []}
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "add", "arguments": "{}"}
    output = [{"type": "message", "id": "m", "role": "assistant", "content": [part]}, call]
    answer = {
        "id": "r",
        "object": "response",
        "status": "completed",
        "output": output,
        "usage": {"input_tokens": 1},
    }
    back, events = there_and_back("/responses", answer)
    assert back == answer
    assert [e["delta"] for e in events if e["type"].endswith(".delta")] == ["hello", "{}"]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))


ODD = st.none() | st.integers() | st.floats() | texts | st.lists(texts, max_size=2) | st.just({})
PATHS = ["/chat/completions", "/completions", "/responses", "/embeddings"]


@given(st.sampled_from(PATHS), st.dictionaries(
    st.sampled_from(["choices", "output", "usage", "object", "status", "id", "response", "type"]),
    ODD | st.lists(st.dictionaries(
        st.sampled_from(["index", "message", "delta", "text", "finish_reason", "logprobs", "content", "type"]),
        ODD | st.dictionaries(st.sampled_from(["content", "tool_calls", "role"]), ODD | st.just([{"index": -1}])),
        max_size=4,
    ), max_size=3),
    max_size=5,
))  # fmt: skip
def test_odd_answers(path, answer):
    """No object breaks the conversion in either direction."""
    list(as_events(path, answer))
    as_complete(path, [answer, answer])


@pytest.mark.parametrize("path", PATHS)
def test_cut_streams(path):
    """A stream without an end is no complete answer."""
    assert as_complete(path, []) is None
    assert as_complete(path, [{"choices": [{"index": 0, "delta": {"content": "hel"}}]}]) is None


def test_answer_in_one_event():
    """A complete answer that is sent as one event is that answer."""
    answer = {"object": "list", "data": [{"embedding": [1.0]}]}
    assert as_complete("/embeddings", [answer]) == answer
