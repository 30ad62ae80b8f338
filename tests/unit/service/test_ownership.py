"""Ids of upstream objects are found wherever a request names them, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.service.ownership import objects_of, references

FIELDS = (
    "file_id", "file_ids", "vector_store_id", "vector_store_ids", "container_id", "container", "conversation_id",
    "response_id", "prompt_id", "skill_id", "image_id", "video_id", "document_ids", "item_id", "knowledge_id",
    "cached_content", "fileId", "vectorStoreIds", "file", "voice", "audio",
)  # fmt: skip
KEYS = st.sampled_from(
    ("messages", "input", "tools", "content", "tool_resources", "extra_body", "google", "a")
)


def named(field, id_):
    """Return the value of a field that names an object: a text, a list, or an object with an id."""
    if field in ("file", "voice", "audio"):
        return {"id": id_}
    return [id_] if field.lower().endswith("ids") else id_


@given(
    field=st.sampled_from(FIELDS), path=st.lists(KEYS, max_size=6), lists=st.lists(st.booleans(), min_size=6)
)
def test_references_at_any_path(field, path, lists):
    """A field that names an object is found at every depth, in objects and in lists."""
    body = {field: named(field, "x")}
    for key, as_list in zip(path, lists, strict=False):
        body = {key: [body, "text"] if as_list else body}
    assert references({"model": "m", **body}) == {"x": field}


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"conversation": "c"}, {"c"}),
        ({"conversation": {"id": "c"}}, {"c"}),
        ({"prompt": {"id": "p", "version": "2"}}, {"p"}),
        ({"input": [{"type": "item_reference", "id": "i"}]}, {"i"}),
        ({"input": [{"type": "item_reference", "id": "i", "encrypted_content": "x"}]}, {"i"}),
        ({"input": [{"type": "reasoning", "id": "r", "summary": []}]}, {"r"}),
        ({"input": [{"type": "web_search_call", "id": "w"}]}, {"w"}),
        ({"input": [{"type": "something_new", "id": "n"}]}, {"n"}),
        ({"input": [{"type": "computer_call_output", "call_id": "1", "output": {"file_id": "f"}}]}, {"f"}),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, {"f"}),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, {"f"}),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, {"a"}),
        ({"messages": [{"role": "system", "content": "fileid://f"}]}, {"fileid://f"}),
        ({"tool_resources": {"file_search": {"vector_store_ids": ["v"]}}}, {"v"}),
        ({"tools": [{"type": "code_interpreter", "container": "k"}]}, {"k"}),
        ({"tools": [{"type": "shell", "environment": {"skills": [{"skill_id": "s"}]}}]}, {"s"}),
    ],
)
def test_known_references(body, ids):
    """The places that OpenAI and others document are known."""
    assert set(references(body)) == ids


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "once"},
        {"prompt": ["a", "b"]},
        {"input": [[1, 2], [3]]},
        {"metadata": {"file_id": "f", "conversation_id": "c"}},
        {"previous_response_id": "checked elsewhere"},
        {"input": [{"role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "hi"}]}]},
        {"input": [{"type": "function_call", "id": "fc_1", "call_id": "1", "name": "f", "arguments": "{}"}]},
        {"input": [{"type": "function_call_output", "id": "fo_1", "call_id": "1", "output": "x"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}]},
        {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function"}]}]},
        {"tools": [{"function": {"name": "f", "parameters": {"properties": {"file_id": {"default": "x"}}}}}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [{"type": "mcp", "connector_id": "connector_gmail", "server_label": "g"}]},
        {"text": {"format": {"type": "json_schema", "schema": {"properties": {"file": {"id": "x"}}}}}},
        {"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]},
        {"safety_identifier": "u", "prompt_cache_key": "k", "service_tier": "auto", "user": "u"},
    ],
)
def test_other_ids_are_free(body):
    """Ids that name nothing upstream are no references."""
    assert references(body) == {}


def test_objects_of_answers():
    """A key gets items, containers and files of an answer. Texts that a client or a tool chose are not read."""
    cited = [{"type": "container_file_citation", "container_id": "c1", "file_id": "f1"}]
    answer = {
        "id": "resp_1",
        "metadata": {"file_id": "not this"},
        "prompt": {"id": "nor this"},
        "output": [
            {"type": "message", "id": "m1", "content": [{"type": "output_text", "annotations": cited}]},
            {"type": "code_interpreter_call", "id": "ci1", "container_id": "c2"},
            {"type": "file_search_call", "id": "fs1", "results": [{"file_id": "f2", "attributes": {"file_id": "no"}}]},
            {"type": "mcp_list_tools", "id": "l1", "tools": [{"input_schema": {"file_id": "no"}}]},
            None,
        ],
        "choices": [{"message": {"audio": {"id": "a1"}}}, {"delta": {"audio": {"id": "a2"}}}, {"message": None}],
    }  # fmt: skip
    assert set(objects_of(answer)) == {"m1", "c1", "f1", "ci1", "c2", "fs1", "f2", "l1", "a1", "a2"}
