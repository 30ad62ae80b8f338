"""Random requests of all model endpoints: ordinary ones, ones with odd fields and types, and ones that try to hide a cost."""

from random import Random
from typing import Any

Json = dict[str, Any]

WORDS = [
    "the",
    "sea",
    "is",
    "blue",
    "and",
    "12345",
    "日本語",
    "🙂",
    "\n\t",
    '{"a":',
    "1}",
    "<|endoftext|>",
    "naïve",
    "",
    "",
    "",
    "﷽",
    "\\u0041",
    "-----",
]
CHAT_FIELDS: Json = {
    "temperature": 0.5, "top_p": 1, "seed": 7, "stop": ["a", "b"], "user": "u", "metadata": {"team": "a"},
    "reasoning_effort": "high", "verbosity": "low", "store": False, "logprobs": True, "top_logprobs": 3, "top_k": 4,
    "parallel_tool_calls": True, "prompt_cache_key": "k", "safety_identifier": "s", "logit_bias": {"50256": -100},
    "presence_penalty": 1, "min_p": 0.1, "response_format": {"type": "json_object"}, "modalities": ["text"],
}  # fmt: skip
DEAR_FIELDS: Json = {
    "prediction": {"type": "content", "content": "word " * 300}, "web_search_options": {}, "documents": [{"text": "a " * 500}],
    "plugins": [{"id": "web"}], "service_tier": "priority", "conversation": "conv_1", "prompt": {"id": "pmpt_1"},
    "previous_response_id": "resp_1", "background": True, "moderation": {"model": "m"}, "context_management": [{"type": "x"}],
    "search_parameters": {"mode": "on"}, "extra_body": {"a": 1}, "enable_search": True, "thinking_budget": 10**6,
    "max_new_tokens": 10**6, "max_completion_tokens": 10**6, "num_predict": 10**6, "use_beam_search": True, "chat_template": "{% for i in x %}",
    "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}, "prompt_cache_options": {"ttl": "1h"},
    "container": {"id": "c"}, "mcp_servers": [{"url": "https://example.org"}], "truncate_prompt_tokens": -1, "file_ids": ["f"],
}  # fmt: skip
TIERS = ("auto", "default", "priority", "fast", "scale", {}, ["priority"], 5)
HOSTED = (
    "web_search",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "mcp",
    "image_generation",
    "shell",
    "x",
)
ITEMS = (
    "item_reference", "web_search_call", "file_search_call", "image_generation_call", "mcp_list_tools", "program",
    "compaction_trigger", "additional_tools",
)  # fmt: skip
PATHS = ("/chat/completions", "/responses", "/completions", "/embeddings")


def text(rnd: Random, most: int = 40) -> str:
    """Return some words in several scripts."""
    return " ".join(rnd.choices(WORDS, k=rnd.randint(0, most)))


def request(rnd: Random, path: str) -> Json:
    """Return a body of an endpoint, without its model."""
    body = {"/chat/completions": _chat, "/responses": _responses, "/completions": _completion}.get(
        path, _embedding
    )(rnd)
    if rnd.random() < 0.12:
        name = rnd.choice(list(DEAR_FIELDS))
        body.setdefault(name, DEAR_FIELDS[name])
    if rnd.random() < 0.05:
        body["service_tier"] = rnd.choice(TIERS)
    if rnd.random() < 0.05:
        body["x_" + rnd.choice("abcdef")] = rnd.choice([None, True, 5, text(rnd), {"a": [text(rnd)]}])
    if rnd.random() < 0.2:
        body["stream"] = True
    return body


def _chat(rnd: Random) -> Json:
    body: Json = {"messages": [_message(rnd) for _ in range(rnd.randint(1, 5))]}
    for name in rnd.sample(list(CHAT_FIELDS), rnd.randint(0, 5)):
        body[name] = CHAT_FIELDS[name]
    _limits(rnd, body, ("max_tokens", "max_completion_tokens"))
    if rnd.random() < 0.3:
        body["n"] = rnd.choice([1, 2, 3, 5, 8, 128, 2**31, None])
    if rnd.random() < 0.3:
        body["tools"] = [_tool(rnd, chat=True) for _ in range(rnd.randint(1, 3))]
    return body


def _limits(rnd: Random, body: Json, names: tuple[str, ...]) -> None:
    for name in names:
        if rnd.random() < 0.6:
            body[name] = rnd.choice(
                [1, 16, 100, 1000, 4096, 2**20, 2**31, None, None, *rnd.choices(range(1, 10**5), k=8)]
            )


def _message(rnd: Random) -> Json:
    role = rnd.choice(["user", "user", "system", "assistant", "tool", "developer"])
    content: Any = text(rnd) if rnd.random() < 0.7 else [_part(rnd) for _ in range(rnd.randint(0, 3))]
    message: Json = {"role": role, "content": content}
    if rnd.random() < 0.15:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text(rnd)}}
        message |= {"role": "assistant", "tool_calls": [call]}
    if rnd.random() < 0.1:
        message |= rnd.choice(
            [{"name": text(rnd, 3)}, {"audio": {"id": "audio_1"}}, {"file_ids": ["file_1"]}, {"reasoning_content": text(rnd)}, {"attachments": [{"file_id": "f"}]}]
        )  # fmt: skip
    return message


def _part(rnd: Random) -> Json:
    image = {"url": rnd.choice(["https://example.org/x.png", "data:image/png;base64,AAAA", text(rnd)])}
    part = rnd.choice(
        [
            {"type": "text", "text": text(rnd)},
            {"type": "text", "text": text(rnd)},
            {"type": "text", "text": text(rnd), "cache_control": {"type": "ephemeral", "ttl": rnd.choice(["5m", "1h"])}},
            {"type": "text", "text": "x", "document": {"file_id": "f"}},
            {"type": "image_url", "image_url": image},
            {"type": "image_url", "image_url": {**image, "file_id": "file_1"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": rnd.choice([{"file_id": "file_1"}, {"file_data": "AAAA", "filename": "a.pdf"}])},
            {"type": "video_url", "video_url": {"url": "https://example.org/x.mp4"}},
            {"type": rnd.choice(["refusal", "x", "thinking"]), "refusal": text(rnd), "thinking": text(rnd)},
        ]
    )  # fmt: skip
    return dict(part)


def _tool(rnd: Random, *, chat: bool) -> Json:
    if rnd.random() < 0.15:
        kind = rnd.choice(HOSTED)
        return {"type": kind, kind: {}} if chat else {"type": kind}
    properties = {f"p{i}": {"type": "string", "description": text(rnd, 8)} for i in range(rnd.randint(0, 4))}
    if rnd.random() < 0.2:  # looks like an attachment, and is text
        properties["image"] = {"type": "input_image", "image_url": text(rnd, 200)}
    function = {
        "name": "f",
        "description": text(rnd),
        "parameters": {"type": "object", "properties": properties},
    }
    return {"type": "function", "function": function} if chat else {"type": "function", **function}


def _responses(rnd: Random) -> Json:
    body: Json = {
        "input": text(rnd) if rnd.random() < 0.4 else [_item(rnd) for _ in range(rnd.randint(1, 4))]
    }
    _limits(rnd, body, ("max_output_tokens",))
    if rnd.random() < 0.3:
        body["instructions"] = text(rnd)
    if rnd.random() < 0.3:
        body["tools"] = [_tool(rnd, chat=False)]
    if rnd.random() < 0.2:
        body |= {
            "reasoning": {"effort": "high"},
            "include": ["reasoning.encrypted_content"],
            "truncation": "auto",
        }
    return body


def _item(rnd: Random) -> Json:
    parts: list[Json] = [
        {"type": "input_text", "text": text(rnd)},
        {"type": "input_image", "image_url": "https://example.org/x.png", "detail": "high"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_data": "AAAA", "filename": "a.pdf"},
        {"type": "input_file", "file_id": "file_1"},
    ]
    return rnd.choice(
        [
            {"role": "user", "content": text(rnd)},
            {"type": "message", "role": "user", "content": [rnd.choice(parts)]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": text(rnd)},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": rnd.choice([text(rnd), [rnd.choice(parts)]]),
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "encrypted_content": rnd.choice([None, text(rnd)]),
            },
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "file_id": "f"},
            },
            {"type": rnd.choice(ITEMS), "id": "x"},
            {"type": rnd.choice(ITEMS), "id": "x"},
        ]
    )


def _completion(rnd: Random) -> Json:
    prompts = [text(rnd), [text(rnd), text(rnd)], [1, 2, 3], [[1, 2], [3]]]
    body: Json = {"prompt": rnd.choice(prompts)}
    _limits(rnd, body, ("max_tokens",))
    if rnd.random() < 0.4:
        body |= {"n": rnd.choice([1, 2, 3, 128]), "best_of": rnd.choice([1, 5, 128, None])}
    if rnd.random() < 0.3:
        body |= {"suffix": text(rnd), "echo": True, "logprobs": 2}
    return body


def _embedding(rnd: Random) -> Json:
    body: Json = {
        "input": rnd.choice([text(rnd), [text(rnd)] * rnd.randint(1, 20), [1, 2, 3], [[1], [2, 3]]])
    }
    if rnd.random() < 0.4:
        body |= rnd.choice(
            [{"dimensions": 8}, {"encoding_format": "base64"}, {"input_type": "query"}, {"user": "u"}]
        )
    return body
