"""Page weight and time of each page of the dashboard, in a real Chromium: `python benchmarks/dashboard.py [requests] [FOLDER]`.

Fills a ledger with requests (default 100000) of the last 90 days, starts the proxy on it, and opens each page at 1280 and
390 pixels. It prints the bytes that a page loads, the time to its first paint and to its end. With a FOLDER it also saves a
picture of each page, as in docs/dashboard.md.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from reports import ZONE, fill

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from proxy.ledger.database import open_database  # noqa: E402
from proxy.ledger.migrate import upgrade  # noqa: E402
from proxy.ledger.rebuild import rebuild  # noqa: E402
from tests.support.config import LARGE_MODEL, SMALL_MODEL, UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402

PAGES = {
    "overview": "?range=all",
    "spend": "/spend?by=task&range=all",
    "sessions": "/spend?by=session&range=all",
    "requests": "/requests",
    "search": "/requests?user=user17&task=code",
    "latest": "/latest",
    "budgets": "/budgets",
    "quality": "/quality",
    "health": "/health",
}
PAINT = """() => new Promise(done => new PerformanceObserver(
    list => list.getEntriesByName("first-contentful-paint").forEach(entry => done(entry.startTime))
).observe({type: "paint", buffered: true}))"""
LOADED = """() => ["navigation", "resource"].flatMap(type => performance.getEntriesByType(type))
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""


async def write(url: str, count: int) -> None:
    """Fill an empty ledger."""
    engine = open_database(url)
    await fill(engine, count)
    await rebuild(engine, ZONE)
    await engine.dispose()


def visit(page: Page, url: str) -> tuple[int, float, float]:
    """Open a page. Return the bytes that it loads, and the milliseconds to its first paint and to its end."""
    started = time.perf_counter()
    page.goto(url, wait_until="load")
    taken = 1000 * (time.perf_counter() - started)
    return page.evaluate(LOADED), page.evaluate(PAINT), taken


def main() -> None:
    """Measure, and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    pictures = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL_MODEL]) as small,
        StandIn([LARGE_MODEL], require_key=UPSTREAM_KEY) as large,
    ):
        proxy = ProxyProcess(
            Path(folder), small.base_url, large.base_url, budgets={"global_usd": 50, "window": "month"}
        )
        url = f"sqlite+aiosqlite:///{proxy.database}"
        upgrade(url)
        asyncio.run(write(url, count))
        with proxy, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            answer = proxy.http().post(
                "/v1/chat/completions",
                json={"model": "cope", "messages": [{"role": "user", "content": "What is 17 * 23?"}]},
            )
            story = f"/requests/{answer.headers['x-cope-request-id']}"
            print(
                "| page | width | bytes | first paint, ms | loaded, ms |\n| --- | ---: | ---: | ---: | ---: |"
            )
            for name, path in {**PAGES, "request": story}.items():
                for width in (1280, 390):
                    with browser.new_page(viewport={"width": width, "height": 800}) as page:
                        size, paint, taken = visit(page, f"{proxy.url}/dashboard{path}")
                        print(f"| {name} | {width} | {size} | {paint:.0f} | {taken:.0f} |", flush=True)
                        if pictures is not None:
                            pictures.mkdir(parents=True, exist_ok=True)
                            page.screenshot(path=pictures / f"{name}-{width}.png")
            browser.close()


if __name__ == "__main__":
    main()
