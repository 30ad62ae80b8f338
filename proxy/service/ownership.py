"""Objects that an upstream keeps: a request may name those that its key got through this proxy, and no others.

The upstream sees one account. It would give a key the files, conversations and reasoning of any other key that has the id.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from proxy.cascade.types import Json
from proxy.errors import database_unavailable, not_found
from proxy.ids import now
from proxy.ledger.database import DatabaseError
from proxy.ledger.owned_objects import owned_by, store_objects
from proxy.service.request import ModelRequest
from proxy.service.state import AppState

log = logging.getLogger(__name__)

LARGE_BODY = 100_000
"""A body of more bytes is searched in a thread."""

_KINDS = (
    "file|upload|image|video|audio|voice|document|vector_?store|container|conversation|response|completion|thread|run"
    "|assistant|item|prompt|batch|skill|knowledge|collection|library|cache"
)
_REFERENCE = re.compile(rf"(?:{_KINDS})_?ids?|container|cached_content|file_uri", re.IGNORECASE)
"""Fields that name an object of an upstream. `call_id`, `tool_call_id` and `connector_id` name none."""
_OBJECT = re.compile(_KINDS, re.IGNORECASE)
"""Fields that name an object of an upstream if they have an `id`."""
_LONGEST_FIELD = 32
"""No name of such a field is longer."""
_FILE_TEXT = "fileid://"
"""Begins a text that stands for a file."""
_OPAQUE = frozenset({"metadata", "parameters", "schema", "input_schema", "output_schema", "arguments"})
"""Fields whose content is the client's own. No upstream reads an id there."""
_COMPLETE_ITEMS = frozenset(
    {
        *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *(
            "computer_call",
            "computer_call_output",
            "local_shell_call",
            "local_shell_call_output",
            "shell_call",
        ),
        *("shell_call_output", "apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_call"),
        *("mcp_approval_request", "mcp_approval_response"),
    }
)
"""Input items that carry all that they mean. For any other item the upstream may look its id up."""
_ENCRYPTED_ITEMS = frozenset({"reasoning", "compaction"})
"""Input items that are complete if they have `encrypted_content`."""


async def require_own_objects(state: AppState, request: ModelRequest) -> None:
    """Check that the key of a request got each upstream object that the request names.

    `previous_response_id` is checked by `recall`.

    Raises:
        ApiError: 404 if it did not get one of them, 503 without a database.
    """
    if request.key is None:
        return
    large = request.size > LARGE_BODY
    named = await asyncio.to_thread(references, request.body) if large else references(request.body)
    if not named:
        return
    try:
        owned = await owned_by(state.database, request.key.id, set(named))
    except (OSError, DatabaseError) as e:
        raise database_unavailable() from e
    for id_, field in named.items():
        if id_ not in owned:
            raise not_found(
                f"No object with the id {id_[:100]!r} was found. A key may only name objects of the upstream that it got "
                "through this proxy.",
                code="object_not_found",
                param=field,
            )


async def remember_objects(state: AppState, request: ModelRequest, ids: Collection[str]) -> None:
    """Note the objects of the upstream that a key got with an answer."""
    if request.key is None or not ids:
        return
    try:
        await store_objects(state.database, request.key.id, ids, now())
    except (OSError, DatabaseError) as e:
        log.warning("%s: the owner of its objects was not stored (%s)", request.id, type(e).__name__)


def references(body: Json) -> dict[str, str]:
    """Return the ids of upstream objects that a request names, each with its field."""
    found = dict(_named_by_place(body))
    rest: list[Any] = [{k: v for k, v in body.items() if k != "previous_response_id"}]
    while rest:
        value = rest.pop()
        pairs = value.items() if isinstance(value, dict) else (("", inner) for inner in value)
        for field, inner in pairs:
            if isinstance(inner, str) and inner.startswith(_FILE_TEXT):
                found[inner] = field
            if len(field) <= _LONGEST_FIELD:
                is_reference, may_be_object = _reading(field)
                if is_reference or (may_be_object and isinstance(inner, dict)):
                    found |= dict.fromkeys(_ids(inner), field)
            if isinstance(inner, (dict, list)) and field not in _OPAQUE:
                rest.append(inner)
    return found


@lru_cache(maxsize=1024)
def _reading(field: str) -> tuple[bool, bool]:
    """Whether a field names objects, and whether it does so if it is an object itself."""
    return _REFERENCE.fullmatch(field) is not None, _OBJECT.fullmatch(field) is not None


def objects_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """Return the ids of objects that the upstream made for an answer. Text that a client can choose is not read."""
    for item in _maps(answer.get("output")):
        yield from _ids(item.get("id"))
        yield from _ids(item.get("container_id"))
        if item.get("type") == "file_search_call":
            for result in _maps(item.get("results")):
                yield from _ids(result.get("file_id"))
        for part in _maps(item.get("content")):
            for annotation in _maps(part.get("annotations")):
                yield from _ids(annotation.get("container_id"))
                yield from _ids(annotation.get("file_id"))
    for choice in _maps(answer.get("choices")):
        for message in (choice.get("message"), choice.get("delta")):
            if isinstance(message, Mapping) and isinstance(audio := message.get("audio"), Mapping):
                yield from _ids(audio.get("id"))


def _named_by_place(body: Json) -> Iterator[tuple[str, str]]:
    """Return the ids whose fields tell only by their place that they are references."""
    yield from ((id_, "conversation") for id_ in _ids(body.get("conversation")))
    for item in _maps(body.get("input")):
        kind = item.get("type", "message")
        if kind not in _COMPLETE_ITEMS and not (kind in _ENCRYPTED_ITEMS and item.get("encrypted_content")):
            yield from ((id_, "input") for id_ in _ids(item.get("id")))


def _ids(value: Any) -> Iterator[str]:
    """Return an id, the ids of a list, or the id of an object."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, list):
        yield from (inner for inner in value if isinstance(inner, str) and inner)
    elif isinstance(value, Mapping):
        yield from _ids(value.get("id"))


def _maps(value: Any) -> Iterable[Mapping[str, Any]]:
    return (inner for inner in value if isinstance(inner, Mapping)) if isinstance(value, list) else ()
