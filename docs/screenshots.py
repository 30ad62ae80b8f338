"""Make the pictures of the dashboard in docs/images: `python docs/screenshots.py`.

It starts a proxy between stand-ins for both models, on a ledger with 20,000 made-up requests, sends some requests, and
takes a picture of each page in Chromium.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "benchmarks")]

from dashboard import write  # noqa: E402

from proxy.ledger.migrate import upgrade  # noqa: E402
from tests.support.config import UPSTREAM_KEY  # noqa: E402
from tests.support.proxy_process import ProxyProcess  # noqa: E402
from tests.support.standin_process import StandIn  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

SMALL, LARGE = "Qwen/Qwen2.5-1.5B-Instruct", "gpt-4o"
WIDTH, PHONE = 1280, 390
PAGES = {
    "overview": ("?range=all", WIDTH, 1300),
    "phone": ("?range=all", PHONE, 800),
    "spend": ("/spend?by=task&range=all", WIDTH, 700),
    "requests": ("/requests", WIDTH, 800),
    "budgets": ("/budgets", WIDTH, 360),
    "quality": ("/quality", WIDTH, 360),
    "health": ("/health", WIDTH, 560),
}
"""The address of each page, and the width and height of its picture."""
EASY = range(2, 10)
KNOWN = [
    {"match": {"contains": f"12 * {number}?"}, "reply": {"content": f"\\boxed{{{12 * number}}}"}}
    for number in EASY
]
GOAL = {"match": {"contains": "in one short sentence"}, "reply": {"content": "Multiply the two numbers."}}
UNSURE = {"reply": {"contents": ["\\boxed{391}", "\\boxed{381}", "\\boxed{401}"]}}
GUIDELINE = {
    "match": {"contains": "tell another assistant"},
    "reply": {"content": "Multiply by 20 and by 3, then add."},
}
ANSWER = {"reply": {"content": "\\boxed{391}", "usage": {"prompt_tokens": 60, "completion_tokens": 180}}}


def ask(proxy: ProxyProcess, text: str) -> str:
    """Send a question through the cascade. Return the id of the request."""
    body = {"model": "cope", "messages": [{"role": "user", "content": text}]}
    return str(proxy.http().post("/v1/chat/completions", json=body).headers["x-cope-request-id"])


def main() -> None:
    """Fill a ledger, and take the pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        StandIn([SMALL], max_model_len=4096) as small,
        StandIn([LARGE], require_key=UPSTREAM_KEY) as large,
    ):
        small.script(GOAL, *KNOWN, UNSURE)
        large.script(GUIDELINE, *KNOWN, ANSWER)
        proxy = ProxyProcess(
            Path(folder),
            small.base_url,
            large.base_url,
            small={"model": SMALL},
            large={"model": LARGE},
            prices=None,
            budgets={"global_usd": 50, "window": "month", "users": {"*": {"usd": 0.5, "window": "day"}}},
            audit={"share": 1.0},
        )
        url = f"sqlite+aiosqlite:///{proxy.database}"
        upgrade(url)
        asyncio.run(write(url, 20_000))
        with proxy:
            for number in EASY:
                ask(proxy, f"What is 12 * {number}?")
            story = ask(proxy, "What is 17 * 23?")
            wait_until(lambda: len(proxy.rows("SELECT * FROM audits")) > len(EASY), "the audits", 60)
            take(proxy, {**PAGES, "request": (f"/requests/{story}", WIDTH, 1500)})


def take(proxy: ProxyProcess, pages: dict[str, tuple[str, int, int]]) -> None:
    """Take a picture of each page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (address, width, height) in pages.items():
            with browser.new_page(viewport={"width": width, "height": height}) as page:
                page.goto(f"{proxy.url}/dashboard{address}", wait_until="load")
                page.screenshot(path=HERE / "images" / f"dashboard-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
