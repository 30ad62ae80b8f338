"""Chat completions that their clients asked to store: keep, list, read, label and delete them.

Local answers come from the ledger. Other completions come from the upstream that made them.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.config.schema import LargeModel
from proxy.errors import ApiError, bad_request, database_unavailable
from proxy.formats.lenient import decode_object
from proxy.ids import now
from proxy.ledger.database import DatabaseError
from proxy.ledger.stored_completions import (
    Page,
    StoredCompletion,
    delete_completion,
    find_completion,
    label_completion,
    list_completions,
    store_completion,
)
from proxy.service.objects import (
    ObjectRequest,
    ask_upstream,
    find_stored,
    maker,
    past_retention,
    unknown_object,
)
from proxy.service.pages import list_object, one, page_of, page_query
from proxy.service.reply import Reply
from proxy.service.request import MAX_TAGS, ModelRequest, clean
from proxy.service.state import AppState

log = logging.getLogger(__name__)

LOCAL_ID_PREFIX = "chatcmpl-req_"
"""Begins the id of every completion that the small model wrote."""
_KIND = "Chat completion"
_LONGEST_KEY, _LONGEST_VALUE = 64, 512
"""OpenAI's limits of metadata, in characters."""
_AT_ONCE = 8
"""How many completions of one page are read from the upstream at the same time."""


async def remember_completion(
    state: AppState,
    request: ModelRequest,
    completion_id: str,
    *,
    answered_by: str,
    model: str | None = None,
    answer: dict[str, Any] | None = None,
    messages: list[dict[str, Any]] | None = None,
) -> bool:
    """Keep a completion that its client asked to store. Return True if it is kept.

    `model` names the large model that made it. A local answer comes with its `answer` and its `messages`. It is not kept
    if `ledger.responses_retention_hours` is 0.
    """
    if answer is not None and not state.settings.ledger.responses_retention_hours:
        return False
    given = request.body.get("metadata")
    labels = {k: v for k, v in given.items() if isinstance(v, str)} if isinstance(given, Mapping) else {}
    completion = StoredCompletion(
        id=completion_id,
        key_id=request.key_id,
        created_at=now(),
        model=model,
        answered_by=answered_by,
        labels=dict(list(labels.items())[:MAX_TAGS]),
        answer=answer,
        messages=messages,
    )
    try:
        await store_completion(state.database, completion)
    except (OSError, DatabaseError) as e:
        log.warning("%s was not stored (%s)", completion_id, type(e).__name__)
        return False
    return True


async def list_stored(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Send a page of the completions that the caller's key has stored through this proxy, oldest first."""
    wanted = page_query(request.query, default_order="asc")
    answered_by = one(request.query, "model")
    page = Page(
        limit=wanted.limit,
        descending=wanted.descending,
        after=None if wanted.after is None else clean(wanted.after),
        answered_by=None if answered_by is None else clean(answered_by),
        labels={k[9:-1]: v[-1] for k, v in request.query.items() if k.startswith("metadata[") and v},
    )
    try:
        found, more = await list_completions(state.database, request.key_id, page)
    except (OSError, DatabaseError) as e:
        raise database_unavailable() from e
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(stored: StoredCompletion) -> dict[str, Any] | None:
        async with slots:
            return await _read(state, stored)

    data = [c for c in await asyncio.gather(*map(read, found)) if c is not None]
    await reply.json(200, {}, list_object(data, has_more=more))


async def retrieve(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Send a completion."""
    stored, model = await _find(state, request)
    if stored is None or stored.answer is None:
        await reply.json(200, *await ask_upstream(state, model, "GET", _path(request)))
    else:
        await reply.json(200, {}, msgspec.json.encode(_completion(stored)))


async def label(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Replace the metadata of a completion, and send it."""
    labels = _labels(request.body)
    stored, model = await _find(state, request)
    answer: tuple[Mapping[str, str], bytes]
    if stored is None or stored.answer is None:
        body = {"metadata": request.body["metadata"]}
        answer = await ask_upstream(state, model, "POST", _path(request), body=body)
    else:
        answer = {}, msgspec.json.encode(_completion(stored) | {"metadata": labels})
    if stored is not None:
        try:
            await label_completion(state.database, stored.id, labels)
        except (OSError, DatabaseError) as e:
            raise database_unavailable() from e
    await reply.json(200, *answer)


async def delete(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Delete a completion here, and at the upstream that made it."""
    stored, model = await _find(state, request)
    gone = msgspec.json.encode({"object": "chat.completion.deleted", "id": request.id, "deleted": True})
    answer: tuple[Mapping[str, str], bytes] = ({}, gone)
    if stored is None or stored.answer is None:
        answer = await ask_upstream(state, model, "DELETE", _path(request))
    if stored is not None:
        try:
            await delete_completion(state.database, stored.id)
        except (OSError, DatabaseError) as e:
            raise database_unavailable() from e
    await reply.json(200, *answer)


async def messages(state: AppState, request: ObjectRequest, reply: Reply) -> None:
    """Send a page of the messages that a completion answers, oldest first."""
    stored, model = await _find(state, request)
    if stored is None or stored.messages is None:
        query = {name: request.query[name] for name in ("after", "limit", "order") if name in request.query}
        path = f"{_path(request)}/messages"
        await reply.json(200, *await ask_upstream(state, model, "GET", path, query=query))
    else:
        page = page_query(request.query, default_order="asc")
        await reply.json(200, {}, page_of(_listed_messages(stored.id, stored.messages), page))


def _path(request: ObjectRequest) -> str:
    return f"/chat/completions/{request.id}"


async def _find(state: AppState, request: ObjectRequest) -> tuple[StoredCompletion | None, LargeModel]:
    return await find_stored(
        state,
        request,
        find_completion,
        kind=_KIND,
        local_prefix=LOCAL_ID_PREFIX,
        is_local=lambda stored: stored.answer is not None,
    )


async def _read(state: AppState, stored: StoredCompletion) -> dict[str, Any] | None:
    """Return a completion, or `None` if it is gone."""
    if stored.answer is not None:
        return None if past_retention(state, stored.created_at) else _completion(stored)
    missing = unknown_object(_KIND, stored.id)
    try:
        model = maker(state.settings, stored.model, missing)
        _, raw = await ask_upstream(state, model, "GET", f"/chat/completions/{stored.id}")
    except ApiError as e:
        if e.status == 404:
            return None
        raise
    return decode_object(raw)


def _completion(stored: StoredCompletion) -> dict[str, Any]:
    return {**(stored.answer or {}), "metadata": stored.labels}


def _labels(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a request that replaces them.

    Raises:
        ApiError: 400 if they are missing, or if OpenAI would not take them.
    """
    if "metadata" not in body:
        raise bad_request("You must provide 'metadata'.", param="metadata", code="missing_required_parameter")
    given = {} if body["metadata"] is None else body["metadata"]
    fits = isinstance(given, dict) and len(given) <= MAX_TAGS
    if not fits or not all(
        len(k) <= _LONGEST_KEY and isinstance(v, str) and len(v) <= _LONGEST_VALUE for k, v in given.items()
    ):
        raise bad_request(
            f"'metadata' has to be an object with at most {MAX_TAGS} texts: keys of at most {_LONGEST_KEY} characters, "
            f"values of at most {_LONGEST_VALUE}.",
            param="metadata",
            code="invalid_value",
        )
    return dict(given)


def _listed_messages(completion_id: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as OpenAI lists them: each with an id, and its content as a text or as parts."""
    listed = []
    for i, message in enumerate(given):
        content = message.get("content")
        parts = content if isinstance(content, list) else None
        text = content if isinstance(content, str) else None
        own = {"id": f"{completion_id}-{i}", "content": text, "content_parts": parts}
        listed.append({"name": None, "refusal": None, **message, **own})
    return listed
