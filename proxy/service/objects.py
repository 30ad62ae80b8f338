"""Requests for objects that an earlier request has made: their owners, and the upstreams that keep them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from proxy.config.schema import LargeModel, Settings
from proxy.errors import ApiError, database_unavailable, not_found, upstream_invalid
from proxy.formats.lenient import decode_object
from proxy.formats.sse import event_name
from proxy.ids import now
from proxy.ledger.database import Database, DatabaseError
from proxy.ledger.keys import ApiKey
from proxy.service.pages import Query
from proxy.service.reply import Reply
from proxy.service.state import AppState


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRequest:
    """A request for stored objects. `id` is empty for a request for all of them."""

    key: ApiKey | None
    """The key of the caller. `None` for the admin, and for everybody while no keys exist."""
    id: str = ""
    query: Query = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key_id(self) -> str | None:
        """The id of the caller's key."""
        return None if self.key is None else self.key.id


class Stored(Protocol):
    """What the ledger keeps of an object."""

    @property
    def key_id(self) -> str | None:
        """The key that has made it."""

    @property
    def created_at(self) -> datetime:
        """When it was made."""

    @property
    def model(self) -> str | None:
        """The large model that made it, or `None`."""


S = TypeVar("S", bound=Stored)


async def find_stored(
    state: AppState,
    request: ObjectRequest,
    find: Callable[[Database, str], Awaitable[S | None]],
    *,
    kind: str,
    local_prefix: str,
    is_local: Callable[[S], bool],
) -> tuple[S | None, LargeModel]:
    """Return what is kept of an object, and the large model to ask for the rest.

    Args:
        state: the state of the application.
        request: names the object and the caller.
        find: reads what is kept.
        kind: what the client calls such an object.
        local_prefix: begins the ids of the proxy's own objects.
        is_local: tells whether the proxy made an object itself. It is then gone after its retention.

    Raises:
        ApiError: 404 if it is unknown or belongs to another key, 503 without a database.
    """
    try:
        stored = await find(state.database, request.id)
    except (OSError, DatabaseError) as e:
        raise database_unavailable() from e
    missing = unknown_object(kind, request.id)
    if not may_see(request, stored.key_id if stored else None, known=stored is not None):
        raise missing
    if stored is None and request.id.startswith(local_prefix):
        raise missing
    if stored is not None and is_local(stored) and past_retention(state, stored.created_at):
        raise missing
    return stored, maker(state.settings, stored.model if stored else None, missing)


def may_see(request: ObjectRequest, owner: str | None, *, known: bool) -> bool:
    """Return True if the caller may see an object.

    A caller sees what its own key has made. An object that is unknown here may belong to anybody who uses the upstream.
    Only a caller without a key may ask the upstream for it.
    """
    return owner == request.key_id if known else request.key_id is None


def maker(settings: Settings, name: str | None, missing: ApiError) -> LargeModel:
    """Return the large model that made an object. Without a name it is the default one.

    Raises:
        ApiError: `missing`, because the model is no longer configured.
    """
    models = settings.large_models
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise missing
    return models[name]


def unknown_object(kind: str, id_: str) -> ApiError:
    """Return the error for an object that does not exist, or that belongs to another key."""
    return not_found(f"{kind} with id '{id_[:128]}' not found.")


def past_retention(state: AppState, created_at: datetime) -> bool:
    """Return True if a local answer should be gone. Old rows are deleted only once an hour."""
    return now() - created_at > timedelta(hours=state.settings.ledger.responses_retention_hours)


async def ask_upstream(
    state: AppState,
    model: LargeModel,
    method: str,
    path: str,
    *,
    query: Query | None = None,
    body: Mapping[str, Any] | None = None,
) -> tuple[dict[str, str], bytes]:
    """Return the upstream's answer about an object: the headers that the client should see, and the body.

    Raises:
        ApiError: the upstream's own error, or that it is unavailable.
    """
    upstream = state.upstreams[model.upstream]
    async with upstream.send(method, path, model.id, urlencode(query or {}, doseq=True), body) as response:
        raw = await response.read()
    if raw and not decode_object(raw):
        raise upstream_invalid()
    return response.headers, raw


async def relay_stream(state: AppState, model: LargeModel, path: str, query: Query, reply: Reply) -> None:
    """Pass on a stream of the upstream, whose events have names. An answer that is no stream is passed on as it is.

    Raises:
        ApiError: the upstream's own error, or that it is unavailable. The stream may have begun.
    """
    upstream = state.upstreams[model.upstream]
    async with upstream.send("GET", path, model.id, urlencode(query, doseq=True)) as response:
        if not response.streamed:
            await reply.json(200, response.headers, await response.read())
            return
        await reply.open(response.headers)
        try:
            while found := await response.more():
                named = [(data, event_name(decode_object(data).get("type"))) for data in found]
                await reply.events([(data.replace(b"\n", b" "), name) for data, name in named])
        except ValueError as e:
            raise upstream_invalid() from e
    await reply.close()
