"""The HTTP status that an upstream's error names in its body.

Sources: the error tables of OpenAI, Anthropic, Google (`google.rpc.Code`), Mistral, OpenRouter and Azure.
"""

_NAMES = (
    (429, ("rate_limit", "ratelimit", "too_many_requests", "toomanyrequests", "resource_exhausted",
           "resourceexhausted", "insufficient_quota", "quota_exceeded", "throttl", "tokens_limit")),
    (503, ("overloaded", "unavailable", "capacity", "no_healthy", "model_loading")),
    (504, ("timeout", "timed_out", "deadline_exceeded")),
    (401, ("authentication", "unauthenticated", "unauthorized", "invalid_api_key", "invalidapikey",
           "incorrect_api_key", "invalid_token")),
    (403, ("permission", "forbidden", "access_denied", "accessdenied")),
    (402, ("payment", "billing", "insufficient_credits", "insufficient_balance")),
    (404, ("not_found", "notfound", "does_not_exist")),
    (413, ("too_large", "toolarge")),
    (409, ("conflict",)),
    (400, ("invalid_request", "invalid_argument", "invalid_prompt", "bad_request", "badrequest", "context_length",
           "unsupported", "validation", "content_filter", "content_policy", "failed_precondition", "missing_required",
           "extra_forbidden", "value_error", "unprocessable")),
    (500, ("server_error", "internal", "api_error", "server_exception")),
)  # fmt: skip
"""Parts of names, in lower case. The first row with a part of the name counts."""


def status_of(value: object) -> int | None:
    """Return the status that a code, a type or a status names, or None if it names none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if value.strip().isdecimal() and len(value) < 8:
            return status_of(int(value))
        name = value[:100].lower().replace("-", "_").replace(" ", "_")
        return next((status for status, parts in _NAMES if any(part in name for part in parts)), None)
    return int(value) if isinstance(value, int | float) and 400 <= value <= 599 else None
