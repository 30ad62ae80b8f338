"""Every error that a client can see, in OpenAI's shape.

Source of the shape and of the types: the OpenAI API reference, "Error codes".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(eq=False)  # not frozen: Python itself sets __traceback__ on an exception under way
class ApiError(Exception):
    """An error with its HTTP status and the members of OpenAI's error object."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        """Return the JSON object that OpenAI clients read."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def __str__(self) -> str:
        return self.message


NO_RETRY = {"x-should-retry": "false"}
"""The header by which OpenAI's SDKs learn that sending the same request again is of no use."""


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Something in the request is wrong and only the client can mend it."""
    return ApiError(400, message, code=code, param=param)


def bad_header(name: str, problem: str) -> ApiError:
    """A control header has a value that cannot be used."""
    return ApiError(400, f"Header {name}: {problem}.", code="invalid_header", param=name)


def unauthorized(message: str) -> ApiError:
    """The caller gave no key, or one that is not valid here."""
    return ApiError(401, message, code="invalid_api_key")


def not_found(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """The thing asked for does not exist, or is not the caller's to see."""
    return ApiError(404, message, code=code, param=param)


def budget_exhausted(reason: Exception | str) -> ApiError:
    """A budget leaves no room for the call. Sending the request again does not help."""
    message = f"Budget exhausted: {reason}. Raise the budget, or leave X-COPE-On-Budget at degrade."
    return ApiError(
        429, message, type="insufficient_quota", code="insufficient_quota", headers=dict(NO_RETRY)
    )


def ledger_unavailable() -> ApiError:
    """The ledger cannot be written for now."""
    return unavailable("The ledger cannot be written at present.", code="ledger_unavailable", retry_after_s=5)


def unavailable(message: str, *, code: str, retry_after_s: int | None = None) -> ApiError:
    """A part that this request needs is away for now."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return ApiError(503, message, type="server_error", code=code, headers=headers)


class SmallRefusedError(Exception):
    """The small model says that it cannot serve this request; the message is the reason."""


class SmallUnavailableError(Exception):
    """No server of the small tier answers."""


class NoBudgetError(Exception):
    """A paid call does not fit into a budget; the message names which."""


class ConfigError(Exception):
    """The configuration cannot be used: one line a problem, each with its key and how to mend it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
