"""The pages about single requests: the search, the latest ones, and the story of one."""

from typing import Any

from litestar import Response, get
from litestar.params import Parameter
from litestar.response import Redirect

from proxy.errors import not_found
from proxy.http.auth import Caller
from proxy.http.dashboard import charts, figures
from proxy.http.dashboard.render import page
from proxy.http.dashboard.shared import common, key_names, svg
from proxy.http.spend import flush
from proxy.ledger import requests as ledger_requests
from proxy.ledger.requests import RequestDetails, RequestFilter
from proxy.service.state import AppState

PAGE_ROWS = 50
LATEST_ROWS = 20


@get("/dashboard/requests", include_in_schema=False)
async def requests(
    app: AppState,
    caller: Caller,
    before: str | None = None,
    id_: str | None = Parameter(query="id", default=None),
    session: str | None = None,
    user: str | None = None,
    task: str | None = None,
    stage: str | None = None,
    model: str | None = None,
    key: str | None = None,
    result: str | None = None,
) -> Response[Any]:
    """Search requests, newest first."""
    if id_ and id_.strip():
        return Redirect(f"/dashboard/requests/{_plain(id_.strip())}", status_code=303)
    await flush(app)
    given = {
        "session": session,
        "user": user,
        "task": task,
        "stage": stage,
        "model": model,
        "key": key,
        "result": result,
    }
    query = {name: value for name, value in given.items() if value}
    wanted = RequestFilter(
        key_id=caller.key_id or query.get("key"),
        session=query.get("session"),
        user=query.get("user"),
        task=query.get("task"),
        stage=int(query["stage"]) if query.get("stage") in ("1", "2", "3") else None,
        model=query.get("model"),
        failed={"failed": True, "answered": False}.get(query.get("result", "")),
    )
    rows = await ledger_requests.list_requests(app.database, wanted, limit=PAGE_ROWS + 1, before=before)
    return page(
        "requests.html",
        {
            **common(app, caller, "requests"),
            "rows": rows[:PAGE_ROWS],
            "more": rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
            "query": query,
            "paged": before is not None,
            "names": await key_names(app, caller),
        },
    )


@get("/dashboard/latest", include_in_schema=False)
async def latest(app: AppState, caller: Caller) -> Response[str]:
    """Show the requests under way and the latest ones. The page loads itself again."""
    await flush(app)
    running, how_many = app.under_way.oldest(LATEST_ROWS, key_id=caller.key_id)
    wanted = RequestFilter(key_id=caller.key_id)
    return page(
        "latest.html",
        {
            **common(app, caller, "latest"),
            "rows": await ledger_requests.list_requests(app.database, wanted, limit=LATEST_ROWS),
            "running": running,
            "hidden": how_many - len(running),
            "workers": app.settings.server.workers,
            "names": await key_names(app, caller),
            "refresh_s": 3,
        },
    )


@get("/dashboard/requests/{request_id:str}", include_in_schema=False)
async def request(app: AppState, caller: Caller, request_id: str) -> Response[str]:
    """Show the story of one request."""
    await flush(app)
    details = await _details(app, caller, request_id)
    return page(
        "request.html",
        {
            **common(app, caller, "requests"),
            "details": details,
            "votes": figures.votes(details),
            "most_bars": figures.MOST_BARS,
            "names": await key_names(app, caller),
        },
    )


@get("/dashboard/requests/{request_id:str}/calls.svg", include_in_schema=False)
async def request_calls(app: AppState, caller: Caller, request_id: str) -> Response[bytes]:
    """Draw the calls of one request over time."""
    return await svg(charts.waterfall, figures.bars(await _details(app, caller, request_id)))


async def _details(app: AppState, caller: Caller, request_id: str) -> RequestDetails:
    found = await ledger_requests.get_request(app.database, request_id, key_id=caller.key_id)
    if found is None:
        raise not_found(f"No request {request_id[:60]!r} in the ledger.", code="request_not_found")
    return found


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "_-"))[:64] or "-"
