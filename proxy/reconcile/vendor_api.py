"""Fetch a month of reports from a vendor's API, page by page."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import aiohttp

from proxy.backends.proxies import proxy_for
from proxy.reconcile.figures import ReportError
from proxy.reconcile.files import Provider, decode_page, merged, read_pages
from proxy.reconcile.usage import VendorReport

TRIES = 6
"""Attempts for one page, when the vendor asks to slow down or fails."""
MOST_WAIT_S = 60.0
MOST_PAGES = 1000
MOST_PAGE_BYTES = 64 * 2**20
TIMEOUT_S = 60.0
BASE_URLS: dict[Provider, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
KEY_NAMES: dict[Provider, str] = {"openai": "OPENAI_ADMIN_KEY", "anthropic": "ANTHROPIC_ADMIN_KEY"}
_BUCKETS = "31"
"""Days in one page. It is the most that both vendors allow."""

Query = Sequence[tuple[str, str]]


class _Report(NamedTuple):
    path: str
    query: Query


async def fetch_reports(
    provider: Provider, base_url: str, key: str, since: datetime, until: datetime
) -> VendorReport:
    """Return the usage and the costs of a range.

    Raises:
        ReportError: the vendor refuses, fails, or cannot be reached. The message has no key.
    """
    headers = (
        {"Authorization": f"Bearer {key}"}
        if provider == "openai"
        else {"x-api-key": key, "anthropic-version": "2023-06-01"}
    )
    if not base_url.lower().startswith(("http://", "https://")):
        raise ReportError(f"--base-url: {base_url[:60]!r} is no http:// or https:// URL")
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, proxy=proxy_for(base_url), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        return merged(
            [
                read_pages(provider, await _pages(session, base_url.rstrip("/"), report), report.path)
                for report in _reports(provider, since, until)
            ]
        )


def _reports(provider: Provider, since: datetime, until: datetime) -> tuple[_Report, ...]:
    days = [("bucket_width", "1d"), ("limit", _BUCKETS)]
    if provider == "openai":
        days += [("start_time", f"{since.timestamp():.0f}"), ("end_time", f"{until.timestamp():.0f}")]
        groups = [("group_by", name) for name in ("model", "service_tier", "batch")]
        return (
            _Report("/organization/usage/completions", [*days, *groups]),
            _Report("/organization/usage/embeddings", [*days, ("group_by", "model")]),
            _Report("/organization/costs", [*days, ("group_by", "line_item")]),
        )
    days += [("starting_at", f"{since:%Y-%m-%dT%H:%M:%SZ}"), ("ending_at", f"{until:%Y-%m-%dT%H:%M:%SZ}")]
    groups = [("group_by[]", name) for name in ("model", "service_tier")]
    return (
        _Report("/organizations/usage_report/messages", [*days, *groups]),
        _Report("/organizations/cost_report", [*days, ("group_by[]", "description")]),
    )


async def _pages(session: aiohttp.ClientSession, base_url: str, report: _Report) -> list[Any]:
    pages: list[Any] = []
    seen: set[str] = set()
    cursor: list[tuple[str, str]] = []
    while True:
        page = await _page(session, f"{base_url}{report.path}", [*report.query, *cursor], report.path)
        pages.append(page)
        following = page.get("next_page") if page.get("has_more") else None
        if following is None:
            return pages
        if not isinstance(following, str) or following in seen or len(pages) >= MOST_PAGES:
            raise ReportError(
                f"{report.path}: the pages do not end; export a file and name it instead of --api"
            )
        seen.add(following)
        cursor = [("page", following)]


async def _page(session: aiohttp.ClientSession, url: str, query: Query, path: str) -> dict[str, Any]:
    problem, wait_s = "no answer", 1.0
    for attempt in range(TRIES):
        try:
            # A redirect would take the key to another host.
            async with session.get(url, params=list(query), allow_redirects=False) as answer:
                if answer.status == 200:
                    return _decoded(await _body(answer, path), answer, path)
                problem, wait_s = f"status {answer.status}", _wait_s(answer, attempt)
                if answer.status != 429 and answer.status < 500:
                    break
        except (aiohttp.ClientError, TimeoutError) as e:
            problem, wait_s = type(e).__name__, 2.0**attempt
        if attempt + 1 < TRIES:
            await asyncio.sleep(min(wait_s, MOST_WAIT_S))
    raise ReportError(f"{path}: {problem}; {_remedy(problem)}")


async def _body(answer: aiohttp.ClientResponse, path: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MOST_PAGE_BYTES:
            raise ReportError(
                f"{path}: a page is larger than {MOST_PAGE_BYTES >> 20} MiB; export a file instead"
            )
    return bytes(body)


def _decoded(body: bytes, answer: aiohttp.ClientResponse, path: str) -> dict[str, Any]:
    page = decode_page(body.decode(answer.charset or "utf-8", "replace"), path)
    if not isinstance(page, dict):
        raise ReportError(f"{path}: the answer is no page of a report; check --base-url")
    return page


def _wait_s(answer: aiohttp.ClientResponse, attempt: int) -> float:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else 2.0**attempt


def _remedy(problem: str) -> str:
    match problem:
        case "status 401" | "status 403":
            return "it needs an admin key, not a key for models: create one in the vendor's console"
        case "status 404":
            return "check --base-url, which ends in /v1"
        case "status 429":
            return "the vendor limits the rate of reports: try again in a few minutes"
    return "try again later, or export a file and name it instead of --api"
