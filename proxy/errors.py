"""The errors of the proxy.

Exception
├── ApiError               a client sees it, with an HTTP status and OpenAI's error object
├── SmallRefusedError      the small model cannot serve a request
├── SmallUnavailableError  no small server answers
├── NoBudgetError          a paid call does not fit into a budget
└── ConfigError            the configuration has problems

The functions below `ApiError` make every error that more than one place raises, so that each message exists once.
Source of the shape and of the types: the OpenAI API reference, "Error codes".
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

_VOCABULARY = """
access account admin allowed answer api argument authentication away bad billing bound bounded broken budget
by call cannot capacity chart client complete completion config conflict connection content context cost credits
database deadline deletable denied died disconnected encoding error exceeded exhausted file filter for
forbidden found gateway head header headers host http id image incorrect insufficient internal invalid json
key large ledger length limit local long many media message metrics method missing mode model needed no not
object of origin out overloaded parameter payment permission policy precondition previous process prompt
quota range rate redirect refused request requests required resource response schema serve server service
set size small stopped stream string temporarily throttled timed timeout token tokens too type unauthorized
unavailable unbounded unknown unprocessable unreachable unsupported upstream url user validation value
values
"""
_WORDS = frozenset(_VOCABULARY.split())
"""The words of error codes that the log repeats."""

NO_RETRY = {"x-should-retry": "false"}
"""The header that tells OpenAI's SDKs not to send the same request again."""


@dataclass(eq=False)  # not frozen: Python itself sets __traceback__ on a raised exception
class ApiError(Exception):
    """An error that a client sees: its HTTP status and the members of OpenAI's error object."""

    status: int
    message: str
    _: KW_ONLY
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    billed: bool = False
    """Whether the upstream may have generated something, and may bill it."""
    usage: Mapping[str, object] | None = None
    """The usage that the upstream reports beside its error, in its own words."""

    @property
    def word(self) -> str:
        """The code, or else the type, for the log."""
        return plain_word(self.code or self.type)

    def body(self) -> dict[str, object]:
        """Return the JSON object that OpenAI clients read."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def __str__(self) -> str:
        return self.message


def plain_word(code: str) -> str:
    """Return a code, or "other" if it has an unusual word: an upstream chooses it, and might quote a text in it."""
    return code if _WORDS.issuperset(code.split("_")) else "other"


# The request is at fault.


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error for a request that only the client can correct."""
    return ApiError(400, message, code=code, param=param)


def bad_header(name: str, problem: str) -> ApiError:
    """Return the error for a control header with an unusable value."""
    return ApiError(400, f"Header {name}: {problem}.", code="invalid_header", param=name)


def unauthorized(message: str) -> ApiError:
    """Return the error for a caller without a valid key."""
    return ApiError(401, message, code="invalid_api_key")


def forbidden(message: str, *, code: str, param: str | None = None) -> ApiError:
    """Return the error for a caller whose key does not permit the request."""
    return ApiError(403, message, code=code, param=param)


def not_found(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """Return the error for a thing that does not exist, or that the caller may not see."""
    return ApiError(404, message, code=code, param=param)


def request_too_large(size: int, limit: int) -> ApiError:
    """Return the error for a request body over `server.max_body_bytes`."""
    message = f"The request body has {size} bytes or more; the limit is {limit} (server.max_body_bytes)."
    return ApiError(413, message, code="request_too_large", headers={"connection": "close"})


def rate_limited(limit: int, unit: str, retry_after_s: int) -> ApiError:
    """Return the error for a key that has used up its minute. `unit` is "requests" or "tokens"."""
    return ApiError(
        429,
        f"Rate limit reached: {limit} {unit} a minute for this key. Try again in {retry_after_s} s.",
        type=unit,
        code="rate_limit_exceeded",
        headers={
            "retry-after": str(retry_after_s),
            f"x-ratelimit-limit-{unit}": str(limit),
            f"x-ratelimit-remaining-{unit}": "0",
            f"x-ratelimit-reset-{unit}": f"{retry_after_s}s",
        },
    )


def budget_exhausted(reason: Exception | str) -> ApiError:
    """Return the error for a request without enough budget. Sending it again does not help."""
    message = f"Budget exhausted: {reason}. Raise the budget, or leave X-COPE-On-Budget at degrade."
    return ApiError(
        429, message, type="insufficient_quota", code="insufficient_quota", headers=dict(NO_RETRY)
    )


# The proxy, or a part of it, is at fault.


def internal_error(request_id: str | None = None) -> ApiError:
    """Return the error for a bug of the proxy. The client may quote the request's id."""
    message = "Internal error." if request_id is None else f"Internal error; quote {request_id}."
    return ApiError(500, message, type="server_error", code="internal_error")


def request_timeout() -> ApiError:
    """Return the error for a request that exceeded `server.request_timeout_s`."""
    return ApiError(504, "The request took too long.", type="server_error", code="request_timeout")


def unavailable(message: str, *, code: str, retry_after_s: int) -> ApiError:
    """Return the error for a part that is unavailable for the moment."""
    return ApiError(503, message, type="server_error", code=code, headers={"retry-after": str(retry_after_s)})


def ledger_unavailable() -> ApiError:
    """Return the error for a ledger that cannot record a paid call."""
    return unavailable("The ledger cannot be written at present.", code="ledger_unavailable", retry_after_s=5)


def database_unavailable() -> ApiError:
    """Return the error for a database that does not answer."""
    return unavailable("The database is unavailable.", code="database_unavailable", retry_after_s=5)


def too_many_bodies() -> ApiError:
    """Return the error for a large request while a client, or all of them, have many in memory."""
    return unavailable(
        "Too many large requests are in memory at present (server.max_bodies_bytes).",
        code="too_many_large_requests",
        retry_after_s=2,
    )


def small_unavailable() -> ApiError:
    """Return the error for a request that needs the small model while no server of it answers."""
    return unavailable("The small model is not available.", code="small_unavailable", retry_after_s=5)


def no_local_answer() -> ApiError:
    """Return the error for a request that only the small model may answer, and that it answered invalidly."""
    return ApiError(502, "The small model gave no valid answer.", type="server_error", code="no_local_answer")


# The upstream is at fault. `billed` decides what the call costs in the ledger.


def upstream_unavailable(retry_after_s: int) -> ApiError:
    """Return the error for an upstream to which the circuit breaker sends no requests at present."""
    return unavailable(
        "The upstream keeps failing. The proxy sends it no requests for a while.",
        code="upstream_unavailable",
        retry_after_s=retry_after_s,
    )


def upstream_unreachable(reason: str) -> ApiError:
    """Return the error for a request that never reached the upstream. An SDK may send it again."""
    message = f"The upstream cannot be reached: {reason}."
    return ApiError(502, message, type="server_error", code="upstream_unreachable")


def upstream_redirects(place: str) -> ApiError:
    """Return the error for a redirect that is not followed, because the key and the prompt would go elsewhere."""
    return ApiError(
        502,
        f"The upstream redirects to {place}. The proxy does not follow it there. Correct the upstream's base_url.",
        type="server_error",
        code="upstream_redirect",
        headers=dict(NO_RETRY),
    )


def upstream_timeout() -> ApiError:
    """Return the error for an upstream that received a request and did not answer in time."""
    return _billed(504, "The upstream did not answer in time.", "upstream_timeout")


def upstream_broken() -> ApiError:
    """Return the error for an upstream that closed the connection before its answer was complete."""
    return _billed(
        502, "The upstream closed the connection before the answer was complete.", "upstream_broken"
    )


def upstream_invalid() -> ApiError:
    """Return the error for an answer that does not have the format of its endpoint."""
    return _billed(502, "The upstream returned an invalid response for this endpoint.", "upstream_invalid")


def upstream_authentication(status: int) -> ApiError:
    """Return the error for an upstream that rejects the proxy's own key.

    The message hides the upstream's text: the client must neither see this key nor change its own.
    """
    return ApiError(
        502,
        f"The upstream refused the proxy's own credentials ({status}).",
        type="server_error",
        code="upstream_authentication",
        headers=dict(NO_RETRY),
    )


def _billed(status: int, message: str, code: str) -> ApiError:
    # A repetition could be billed a second time, so an SDK must not repeat it by itself.
    return ApiError(status, message, type="server_error", code=code, headers=dict(NO_RETRY), billed=True)


# Internal errors. No client sees them.


class SmallRefusedError(Exception):
    """The small model cannot serve this request. The message is the reason."""


class SmallUnavailableError(Exception):
    """No server of the small model answers."""


class SmallTimeoutError(SmallUnavailableError):
    """A server of the small model took too long. Another one would take about as long again."""


class NoBudgetError(Exception):
    """A paid call does not fit into a budget. The message names the budget."""


class ConfigError(Exception):
    """The configuration cannot be used. Each problem is one line with its key and how to correct it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
