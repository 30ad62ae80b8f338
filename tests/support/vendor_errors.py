"""The same failure as different vendors write it."""

import json
from typing import NamedTuple

WORDS = "Too many tokens for today"


class Form(NamedTuple):
    """A body, and the status that it names: 502 if it names none."""

    name: str
    body: str
    status: int


def _form(name: str, body: object, status: int) -> Form:
    return Form(name, body if isinstance(body, str) else json.dumps(body), status)


FORMS = (
    _form("openai", {"error": {"message": WORDS, "type": "rate_limit_exceeded", "code": None}}, 429),
    _form("openrouter", {"error": {"message": WORDS, "code": 429}, "user_id": "u"}, 429),
    _form("code as text", {"error": {"message": WORDS, "code": "429"}}, 429),
    _form("string", {"error": WORDS}, 502),
    _form("beside an empty answer", {"id": None, "choices": None, "error": {"message": WORDS}}, 502),
    _form("beside an empty text", {
        "object": "chat.completion", "error": {"message": WORDS, "code": 503},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "delta": {"content": ""}}],
    }, 503),
    _form("in a choice", {
        "object": "chat.completion", "choices": [{
            "index": 0, "finish_reason": "error", "error": {"message": WORDS, "code": 503},
            "message": {"role": "assistant", "content": ""}, "delta": {"content": ""},
        }],
    }, 503),
    _form("fastapi", {"detail": WORDS}, 502),
    _form("fastapi list", {"detail": [{"loc": ["body", "x"], "msg": WORDS, "type": "missing"}]}, 502),
    _form("mistral", {"object": "error", "message": WORDS, "type": "invalid_request_error", "code": 3051}, 400),
    _form("mistral detail", {"object": "error", "message": {"detail": [{"msg": WORDS}]}}, 502),
    _form("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}}, 503),
    _form("google", [{"error": {"code": 429, "message": WORDS, "status": "RESOURCE_EXHAUSTED"}}], 429),
    _form("problem", {"title": WORDS, "status": 503, "type": "about:blank"}, 503),
    _form("azure gateway", {"statusCode": 429, "message": WORDS}, 429),
    _form("cloudflare", {"success": False, "errors": [{"code": 10000, "message": WORDS}], "result": None}, 502),
    _form("minimax", {"choices": None, "base_resp": {"status_code": 1004, "status_msg": WORDS}}, 502),
    _form("baidu", {"error_code": 336003, "error_msg": WORDS}, 502),
    _form("message alone", {"message": WORDS}, 502),
)  # fmt: skip
"""Objects, so that each can also be the event of a stream, except Google's list."""
TEXTS = (
    _form("plain text", WORDS, 502),
    _form("json text", json.dumps(WORDS), 502),
    _form(
        "login page",
        f"<!DOCTYPE html><html><head><title>{WORDS}</title></head><body>Sign in</body></html>",
        502,
    ),
)
