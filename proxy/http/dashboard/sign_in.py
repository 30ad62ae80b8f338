"""Who looks at the dashboard: a key or the admin, by a signed cookie.

The cookie names the key and the time at which it ends. It is signed with the stored digest of the key's secret, or with
the admin key. So it holds no secret, every process can check it, and it ends when the key is revoked or gets a new secret.
"""

import hashlib
import hmac
import os
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.enums import RequestEncodingType
from litestar.params import Body, Parameter
from litestar.response import Redirect

from proxy.errors import ApiError, unauthorized
from proxy.http.auth import Caller
from proxy.http.dashboard.render import page
from proxy.http.dependencies import app_state, authenticator
from proxy.http.neighbours import require_own_page
from proxy.ledger.keys import get_key
from proxy.service.state import AppState

COOKIE = "cope_dashboard"
SIGN_IN = "/dashboard/sign-in"
LASTS_S = 12 * 3600
_ADMIN = "admin"
_HOME = "/dashboard"


async def viewer(request: Request[Any, Any, Any]) -> Caller:
    """Return the viewer of a page: by a bearer token, by the cookie, or anybody while no key exists.

    Raises:
        ApiError: 401 if the viewer has to sign in, 503 if the database is unavailable.
    """
    callers, headers = authenticator(request.app), request.scope["headers"]
    if "authorization" in request.headers:
        return await callers.caller(headers)
    if (cookie := request.cookies.get(COOKIE)) and (
        found := await _signed_in(app_state(request.app), cookie)
    ):
        return found
    if await callers.anonymous(headers):
        return await callers.caller(headers)
    raise unauthorized("Sign in with a key.")


def sign_in_again(request: Request[Any, Any, Any]) -> Redirect:
    """Return a redirect to the form, which leads back to the page that was asked for."""
    query = request.url.query
    wanted = request.url.path + (f"?{query}" if query else "")
    return Redirect(f"{SIGN_IN}?next={quote(wanted, safe='')}", status_code=303)


@get(SIGN_IN, include_in_schema=False)
async def sign_in_form(next_: Annotated[str, Parameter(query="next")] = _HOME) -> Response[str]:
    """Show the form."""
    return page("sign_in.html", {"next": _own_path(next_), "problem": None})


@post(SIGN_IN, include_in_schema=False, status_code=200)
async def sign_in(
    request: Request[Any, Any, Any],
    app: AppState,
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Check a key and set the cookie."""
    require_own_page(app.settings.server, request.scope["headers"])
    wanted, token = _own_path(data.get("next", "")), data.get("key", "").strip()
    headers = [(b"authorization", b"Bearer " + token.encode("utf-8", "replace"))]
    try:
        caller = await authenticator(request.app).caller(headers)
    except ApiError as error:
        return page("sign_in.html", {"next": wanted, "problem": error.message}, error.status)
    if caller.key is None and not caller.admin:
        return page("sign_in.html", {"next": wanted, "problem": "This is not the admin key."}, 401)
    answer: Response[Any] = Redirect(wanted, status_code=303)
    if value := await _cookie(app, caller):
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(
            Cookie(
                COOKIE,
                value=value,
                path=_HOME,
                max_age=LASTS_S,
                httponly=True,
                samesite="strict",
                secure=secure,
            )
        )
    return answer


@post("/dashboard/sign-out", include_in_schema=False, status_code=200)
async def sign_out(request: Request[Any, Any, Any], app: AppState) -> Response[Any]:
    """Delete the cookie."""
    require_own_page(app.settings.server, request.scope["headers"])
    answer: Response[Any] = Redirect(SIGN_IN, status_code=303)
    answer.delete_cookie(COOKIE, path=_HOME)
    return answer


async def _cookie(app: AppState, caller: Caller) -> str | None:
    ends = int(time.time()) + LASTS_S
    if caller.key is None:
        admin = _admin_key(app)
        return f"{_ADMIN}.{ends}.{_signature(admin, _ADMIN, ends)}" if admin else None
    found = await get_key(app.database, caller.key.id)
    return None if found is None else f"{caller.key.id}.{ends}.{_signature(found[1], caller.key.id, ends)}"


async def _signed_in(app: AppState, cookie: str) -> Caller | None:
    """Return the caller that a cookie names, or None if it is wrong, too old, or of a key that ended."""
    name, _, rest = cookie.partition(".")
    written, _, signature = rest.partition(".")
    if not (written.isascii() and written.isdecimal() and len(written) < 12) or int(written) < time.time():
        return None
    if name == _ADMIN:
        admin = _admin_key(app)
        valid = bool(admin) and _is_signed(admin, name, int(written), signature)
        return Caller(None, admin=True) if valid else None
    found = await get_key(app.database, name)
    if found is None or not _is_signed(found[1], name, int(written), signature):
        return None
    return Caller(found[0]) if found[0].active(datetime.now(UTC)) else None


def _signature(secret: str, name: str, ends: int) -> str:
    return hmac.new(secret.encode(), f"dashboard {name} {ends}".encode(), hashlib.sha256).hexdigest()


def _is_signed(secret: str, name: str, ends: int, signature: str) -> bool:
    return hmac.compare_digest(_signature(secret, name, ends).encode(), signature.encode("utf-8", "replace"))


def _admin_key(app: AppState) -> str:
    return os.environ.get(app.settings.server.admin_key_env, "")


def _own_path(path: str) -> str:
    """Return a path of the dashboard, never another site."""
    parts = urlsplit(path)
    own = (
        not parts.scheme and not parts.netloc and (parts.path == _HOME or parts.path.startswith(f"{_HOME}/"))
    )
    return path if own and "\\" not in path and path.isprintable() else _HOME
