"""The pages of the dashboard. A key sees its own requests, the admin sees all."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from importlib.resources import files
from typing import Annotated, Any

from litestar import Request, Response, Router, get
from litestar.di import Provide
from litestar.params import Parameter
from litestar.response import Redirect

from proxy.errors import ApiError, bad_request, forbidden, not_found
from proxy.http.auth import Caller
from proxy.http.dashboard import charts, figures
from proxy.http.dashboard.render import HEADERS, page
from proxy.http.dashboard.sign_in import sign_in, sign_in_again, sign_in_form, sign_out, viewer
from proxy.http.spend import flush
from proxy.ids import now
from proxy.ledger import audits as ledger_audits
from proxy.ledger import budgets as ledger_budgets
from proxy.ledger import keys as ledger_keys
from proxy.ledger import reports
from proxy.ledger import requests as ledger_requests
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.audits import Models
from proxy.ledger.reports import GROUPS, By
from proxy.ledger.requests import RequestDetails, RequestFilter
from proxy.ledger.time_ranges import parse_time
from proxy.service.state import AppState

PAGE_ROWS = 50
MOST_GROUPS = 200
_CHART_GROUPS = 12
_AUDIT_DAYS = 30
_SVG_HEADERS = {
    **HEADERS,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
_UNAUTHORIZED = 401

Range = Annotated[str, Parameter(query="range")]
_CHART_GROUP: dict[str, By] = {"stages": "stage", "kinds": "task", "models": "model", "keys": "key"}


@get("/dashboard", include_in_schema=False)
async def overview(app: AppState, caller: Caller, range_: Range = figures.DEFAULT_RANGE) -> Response[str]:
    """Show what was spent and saved."""
    await flush(app)
    wanted = _wanted(app, caller, range_)
    days = await figures.spend_by(app.database, "day", app.zone, wanted)
    stages = await figures.spend_by(app.database, "stage", app.zone, wanted)
    kinds = await figures.spend_by(app.database, "task", app.zone, wanted)
    return page(
        "overview.html",
        {
            **_common(app, caller, "overview"),
            "range": range_,
            "ranges": figures.RANGES,
            "total": reports.total(days),
            "saving": await figures.saving(app.database, days, wanted),
            "local": figures.answered_locally(stages),
            "days": days,
            "stages": stages,
            "kinds": kinds,
            "method": reports.METHOD,
        },
    )


@get("/dashboard/charts/{name:str}", include_in_schema=False)
async def chart(
    app: AppState, caller: Caller, name: str, range_: Range = figures.DEFAULT_RANGE
) -> Response[bytes]:
    """Draw a chart of the overview."""
    name = name.removesuffix(".svg")
    wanted = _wanted(app, caller, range_)
    if name == "days":
        rows = await figures.spend_by(app.database, "day", app.zone, wanted)
        columns = ([r.group or "" for r in rows], [r.cost for r in rows], [r.baseline - r.cost for r in rows])
        return await _svg(charts.money_by_day, *columns)
    if name not in _CHART_GROUP:
        raise not_found(f"No chart {name[:40]!r}.", code="chart_not_found")
    by = _CHART_GROUP[name]
    rows = await figures.spend_by(app.database, by, app.zone, wanted, _CHART_GROUPS)
    saved = [r.baseline - r.cost if figures.shown_by(r, by) else 0 for r in rows]
    return await _svg(charts.money_by_group, [r.group or "none" for r in rows], [r.cost for r in rows], saved)


@get("/dashboard/spend", include_in_schema=False)
async def spend(
    app: AppState, caller: Caller, by: By = "task", range_: Range = figures.DEFAULT_RANGE
) -> Response[str]:
    """Show the spend by a group, and where the cascade pays or loses."""
    await flush(app)
    wanted = _wanted(app, caller, range_)
    return page(
        "spend.html",
        {
            **_common(app, caller, "spend"),
            "range": range_,
            "ranges": figures.RANGES,
            "by": by,
            "groups": GROUPS,
            "rows": await figures.spend_by(app.database, by, app.zone, wanted, MOST_GROUPS),
            "names": await _key_names(app, caller) if by == "key" else {},
            "shown": figures.shown_by,
            "most": MOST_GROUPS,
        },
    )


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
            **_common(app, caller, "requests"),
            "rows": rows[:PAGE_ROWS],
            "more": rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
            "query": query,
            "paged": before is not None,
            "names": await _key_names(app, caller),
        },
    )


@get("/dashboard/latest", include_in_schema=False)
async def latest(app: AppState, caller: Caller) -> Response[str]:
    """Show the latest requests. The page loads itself again."""
    await flush(app)
    wanted = RequestFilter(key_id=caller.key_id)
    return page(
        "latest.html",
        {
            **_common(app, caller, "latest"),
            "rows": await ledger_requests.list_requests(app.database, wanted, limit=20),
            "names": await _key_names(app, caller),
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
            **_common(app, caller, "requests"),
            "details": details,
            "votes": figures.votes(details),
            "most_bars": figures.MOST_BARS,
            "names": await _key_names(app, caller),
        },
    )


@get("/dashboard/requests/{request_id:str}/calls.svg", include_in_schema=False)
async def request_calls(app: AppState, caller: Caller, request_id: str) -> Response[bytes]:
    """Draw the calls of one request over time."""
    return await _svg(charts.waterfall, figures.bars(await _details(app, caller, request_id)))


@get("/dashboard/budgets", include_in_schema=False)
async def budgets(app: AppState, caller: Caller) -> Response[str]:
    """Show budgets with their use and their forecast."""
    await flush(app)
    at = now()
    rows = [b for b in await ledger_budgets.list_budgets(app.database) if _may_see(caller, b)]
    current = [figures.budget_state(b, at, app.zone) for b in rows if figures.is_current(b, at, app.zone)]
    current.sort(key=lambda state: -state.share)
    return page(
        "budgets.html",
        {
            **_common(app, caller, "budgets"),
            "states": current[:MOST_GROUPS],
            "hidden": max(0, len(current) - MOST_GROUPS),
            "names": await _key_names(app, caller),
        },
    )


@get("/dashboard/quality", include_in_schema=False)
async def quality(app: AppState, caller: Caller) -> Response[str]:
    """Show how often audits agreed with local answers."""
    _require_all(caller)
    models = Models(small=app.settings.small.model, large=app.settings.large.model)
    since = now() - timedelta(days=_AUDIT_DAYS)
    return page(
        "quality.html",
        {
            **_common(app, caller, "quality"),
            "models": models,
            "days": _AUDIT_DAYS,
            "rows": await ledger_audits.agreements(app.database, since, models),
        },
    )


@get("/dashboard/health", include_in_schema=False)
async def health(app: AppState, caller: Caller) -> Response[str]:
    """Show the tiers, the ledger and unsettled money."""
    _require_all(caller)
    return page(
        "health.html",
        {
            **_common(app, caller, "health"),
            "small": app.small.available,
            "upstreams": {
                name or "large": not upstream.breaker.is_open for name, upstream in app.upstreams.items()
            },
            "backlog": app.writer.backlog_bytes,
            "dropped": app.writer.dropped,
            "unsettled": await ledger_unsettled.list_unsettled(app.database),
            "total": await ledger_unsettled.unsettled_sum(app.database),
        },
    )


@get("/dashboard/static/{name:str}", include_in_schema=False)
async def static(name: str) -> Response[bytes]:
    """Send the style sheet or the icon."""
    types = {"dashboard.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
    if name not in types:
        raise not_found("No such file.", code="file_not_found")
    content = files("proxy.http.dashboard").joinpath("static", name).read_bytes()
    headers = {**HEADERS, "cache-control": "max-age=3600"}
    return Response(content, media_type=types[name], headers=headers)


@get("/", include_in_schema=False)
async def home(request: Request[Any, Any, Any]) -> Response[Any]:
    """Lead browsers to the dashboard. Other clients get a 404 as for any unknown address."""
    if "text/html" in request.headers.get("accept", ""):
        return Redirect("/dashboard", status_code=302)
    raise ApiError(
        404,
        "Unknown request URL: GET /. The API is under /v1.",
        type="invalid_request_error",
        code="unknown_url",
    )


def _error_page(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    if error.status == _UNAUTHORIZED:
        return sign_in_again(request)
    return page("error.html", {"status": error.status, "message": error.message}, error.status)


def _common(app: AppState, caller: Caller, here: str) -> dict[str, object]:
    key = caller.key
    return {
        "here": here,
        "viewer": key.name if key else ("admin" if caller.admin else "everybody (no key exists)"),
        "sees_all": key is None,
        "signed_in": key is not None or bool(caller.admin),
        "timezone": app.settings.budgets.timezone,
    }


def _wanted(app: AppState, caller: Caller, range_: Range) -> RequestFilter:
    if range_ not in figures.RANGES:
        known = ", ".join(figures.RANGES)
        raise bad_request(f"'range' has to be one of: {known}.", param="range", code="invalid_value")
    start = figures.RANGES[range_]
    since = None if start is None else parse_time(start, now(), app.zone)
    return RequestFilter(key_id=caller.key_id, since=since)


async def _details(app: AppState, caller: Caller, request_id: str) -> RequestDetails:
    found = await ledger_requests.get_request(app.database, request_id, key_id=caller.key_id)
    if found is None:
        raise not_found(f"No request {request_id[:60]!r} in the ledger.", code="request_not_found")
    return found


async def _key_names(app: AppState, caller: Caller) -> Mapping[str, str]:
    if caller.key is not None:
        return {caller.key.id: caller.key.name}
    return {key.id: key.name for key in await ledger_keys.list_keys(app.database)}


def _may_see(caller: Caller, budget: ledger_budgets.BudgetView) -> bool:
    if caller.key is None:
        return True
    return budget.owner == caller.key.id or (budget.scope == "key" and budget.name == caller.key.id)


def _require_all(caller: Caller) -> None:
    if caller.key is not None:
        raise forbidden("This page is about all keys. Sign in with the admin key.", code="admin_key_needed")


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "_-"))[:64] or "-"


async def _svg(draw: Any, *data: Any) -> Response[bytes]:
    drawn = await asyncio.to_thread(draw, *data)
    return Response(drawn, media_type="image/svg+xml", headers=_SVG_HEADERS)


dashboard = Router(
    "/",
    route_handlers=[
        home, overview, chart, spend, requests, latest, request, request_calls, budgets, quality, health, static,
        sign_in_form, sign_in, sign_out,
    ],
    dependencies={"caller": Provide(viewer)},
    exception_handlers={ApiError: _error_page},
)  # fmt: skip
