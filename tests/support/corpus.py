"""Request shapes: what clients send, each field at least once alone and beside others."""

from collections.abc import Iterator

from tests.support.wait import Json

CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
FUNCTION = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}


def user(content: object) -> Json:
    return {"role": "user", "content": content}


def text(value: str) -> Json:
    return {"type": "text", "text": value}


ASKED = user("How is the weather in Paris?")
CONVERSATIONS: dict[str, list[Json]] = {
    "user": [user("Say something about the sea.")],
    "weather": [ASKED],
    "system": [{"role": "system", "content": "Be short."}, user("Say something.")],
    "developer": [{"role": "developer", "content": "Be short."}, user("Describe Paris as JSON.")],
    "history": [user("Hi."), {"role": "assistant", "content": "Hello."}, user("What is 6 times 7?")],
    "after tools": [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}],
    "parts": [user([text("Say "), text("something.")])],
    "system parts": [{"role": "system", "content": [text("Be short.")]}, user("Say something.")],
    "image": [user([text("What is this?"), IMAGE])],
    "audio": [user([text("What is said?"), AUDIO])],
    "file": [user([text("Sum it up."), FILE])],
    "refusal": [user("Hi."), {"role": "assistant", "content": None, "refusal": "No."}, user("Please.")],
    "refusal part": [user("Hi."), {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, user("Go.")],
    "two calls": [ASKED, {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
                  {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                  {"role": "tool", "tool_call_id": "call_2", "content": [text("rain")]}],
    "names": [{**user("Hi."), "name": "ann"}, {"role": "assistant", "content": "Hi.", "name": "bot"}, user("Go on.")],
    "function role": [ASKED, {"role": "assistant", "content": None, "function_call": CALL["function"]},
                      {"role": "function", "name": "get_weather", "content": "sunny"}],
    "unicode": [user("Sag etwas über 海, 🌊 und \u0000 Nullen.")],
    "code": [user("Write a Python function that adds two numbers.")],
    "choice": [user("Which is a fruit?\nA) car\nB) apple\nC) stone\nD) sky")],
    "empty": [user("")],
}  # fmt: skip
FIELDS: dict[str, Json] = {
    "nothing": {},
    "temperature": {"temperature": 0.3},
    "top_p": {"top_p": 0.9},
    "n": {"n": 3},
    "stop": {"stop": "\n\n"},
    "stops": {"stop": ["a", "b", "c", "d"]},
    "seed": {"seed": 7},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "max_tokens": {"max_tokens": 3},
    "max_completion_tokens": {"max_completion_tokens": 2},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    "text": {"response_format": {"type": "text"}},
    "json_object": {"response_format": {"type": "json_object"}},
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": CITY}}
    },
    "tools": {"tools": [TOOL]},
    "tool_choice required": {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    "tool_choice none": {"tools": [TOOL], "tool_choice": "none"},
    "tool_choice named": {
        "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}
    },
    "custom tool": {"tools": [{"type": "custom", "custom": {"name": "run"}}]},
    "functions": {"functions": [FUNCTION], "function_call": "auto"},
    "reasoning": {"reasoning_effort": "low", "verbosity": "low"},
    "audio": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "modalities": {"modalities": ["text"]},
    "prediction": {"prediction": {"type": "content", "content": "the sea"}},
    "service_tier": {"service_tier": "flex"},
    "store": {"store": True, "metadata": {"team": "a"}},
    "user": {"user": "u-1"},
    "cache": {"prompt_cache_key": "k", "safety_identifier": "s", "prompt_cache_retention": "24h"},
    "web_search": {"web_search_options": {"search_context_size": "low"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "invented tomorrow": {"imagination": {"depth": [1, 2, {"x": None}]}},
    "nulls": {"temperature": None, "tools": None, "stop": None, "n": None, "stream_options": None},
    "usage": {"stream_options": {"include_usage": True}},
    "obfuscation": {"stream_options": {"include_obfuscation": False}},
}  # fmt: skip
CROSSED = ("user", "weather", "system", "developer", "history", "after tools")
"""Conversations that meet every field; the others are sent plain."""


def chats() -> Iterator[tuple[str, Json]]:
    """Yield each shape of a chat completion request, without its model, by a name."""
    for conversation, messages in CONVERSATIONS.items():
        for field, fields in FIELDS.items():
            if field == "nothing" or conversation in CROSSED:
                yield f"{conversation}, {field}", {"messages": messages, **fields}


INPUTS: dict[str, object] = {
    "text": "Say something about the sea.",
    "weather": "How is the weather in Paris?",
    "message": [user("Say something.")],
    "typed": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Describe Paris as JSON."}]}],
    "history": [user("Hi."), {"role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}, user("What is 6 times 7?")],
    "after tools": [
        user("How is the weather in Paris?"),
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ],
    "image": [user([{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}])],
}  # fmt: skip
RESPONSE_FIELDS: dict[str, Json] = {
    "nothing": {},
    "instructions": {"instructions": "Be short."},
    "sampling": {"temperature": 0.2, "top_p": 0.9},
    "bound": {"max_output_tokens": 17},
    "function": {"tools": [{"type": "function", **FUNCTION, "strict": False}]},
    "required": {"tools": [{"type": "function", **FUNCTION, "strict": False}], "tool_choice": "required"},
    "hosted": {"tools": [{"type": "web_search_preview"}]},
    "json_schema": {"text": {"format": {"type": "json_schema", "name": "c", "strict": True, "schema": CITY}}},
    "json_object": {"text": {"format": {"type": "json_object"}}},
    "not stored": {"store": False, "include": ["reasoning.encrypted_content"]},
    "labels": {"metadata": {"team": "a"}, "user": "u", "truncation": "auto", "prompt_cache_key": "k"},
    "reasoning": {"reasoning": {"effort": "low"}},
    "invented tomorrow": {"imagination": 3},
}  # fmt: skip


def responses() -> Iterator[tuple[str, Json]]:
    """Yield each shape of a request for a response, without its model, by a name."""
    for name, given in INPUTS.items():
        for field, fields in RESPONSE_FIELDS.items():
            yield f"{name}, {field}", {"input": given, **fields}
