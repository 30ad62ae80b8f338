"""The pages of the dashboard. A key sees its own requests, the admin sees all."""

from importlib.resources import files
from typing import Any

from litestar import Request, Response, Router, get
from litestar.di import Provide
from litestar.response import Redirect

from proxy.errors import ApiError, not_found
from proxy.http.auth import Caller
from proxy.http.dashboard import charts, figures
from proxy.http.dashboard.operator_pages import budgets, health, quality
from proxy.http.dashboard.render import HEADERS, page
from proxy.http.dashboard.request_pages import latest, request, request_calls, requests
from proxy.http.dashboard.shared import MOST_GROUPS, Range, common, in_range, key_names, svg
from proxy.http.dashboard.sign_in import sign_in, sign_in_again, sign_in_form, sign_out, viewer
from proxy.http.spend import flush
from proxy.ledger import reports
from proxy.ledger.reports import GROUPS, OF_KEYS, By
from proxy.service.state import AppState

_CHART_GROUPS = 12
_UNAUTHORIZED = 401

_CHART_GROUP: dict[str, By] = {"stages": "stage", "kinds": "task", "models": "model", "keys": "key"}


@get("/dashboard", include_in_schema=False)
async def overview(app: AppState, caller: Caller, range_: Range = figures.DEFAULT_RANGE) -> Response[str]:
    """Show what was spent and saved."""
    await flush(app)
    wanted = in_range(app, caller, range_)
    days = await figures.spend_by(app.database, "day", app.zone, wanted)
    stages = await figures.spend_by(app.database, "stage", app.zone, wanted)
    return page(
        "overview.html",
        {
            **common(app, caller, "overview"),
            "range": range_,
            "ranges": figures.RANGES,
            "total": reports.total(days),
            "saving": await figures.saving(app.database, days, wanted),
            "local": figures.answered_locally(stages),
            "days": days,
            "method": reports.METHOD,
        },
    )


@get("/dashboard/charts/{name:str}", include_in_schema=False)
async def chart(
    app: AppState, caller: Caller, name: str, range_: Range = figures.DEFAULT_RANGE
) -> Response[bytes]:
    """Draw a chart of the overview."""
    name = name.removesuffix(".svg")
    wanted = in_range(app, caller, range_)
    if name == "days":
        rows = await figures.spend_by(app.database, "day", app.zone, wanted)
        columns = ([r.group or "" for r in rows], [r.cost for r in rows], [r.baseline - r.cost for r in rows])
        return await svg(charts.money_by_day, *columns)
    if name not in _CHART_GROUP:
        raise not_found(f"No chart {name[:40]!r}.", code="chart_not_found")
    by = _CHART_GROUP[name]
    rows = await figures.spend_by(app.database, by, app.zone, wanted, _CHART_GROUPS)
    saved = [r.baseline - r.cost if figures.shown_by(r, by) else 0 for r in rows]
    return await svg(charts.money_by_group, [r.group or "none" for r in rows], [r.cost for r in rows], saved)


@get("/dashboard/spend", include_in_schema=False)
async def spend(
    app: AppState, caller: Caller, by: By = "task", range_: Range = figures.DEFAULT_RANGE
) -> Response[str]:
    """Show the spend by a group, and where the cascade pays or loses."""
    await flush(app)
    wanted = in_range(app, caller, range_)
    return page(
        "spend.html",
        {
            **common(app, caller, "spend"),
            "range": range_,
            "ranges": figures.RANGES,
            "by": by,
            "groups": GROUPS,
            "shared": by in OF_KEYS,
            "rows": await figures.spend_by(app.database, by, app.zone, wanted, MOST_GROUPS),
            "names": await key_names(app, caller) if by == "key" else {},
            "most": MOST_GROUPS,
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


dashboard = Router(
    "/",
    route_handlers=[
        home, overview, chart, spend, requests, latest, request, request_calls, budgets, quality, health, static,
        sign_in_form, sign_in, sign_out,
    ],
    dependencies={"caller": Provide(viewer)},
    exception_handlers={ApiError: _error_page},
)  # fmt: skip
