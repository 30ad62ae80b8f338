"""The dashboard in a real browser: every page fits its window, loads its charts, and runs nothing of what clients send."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.support.dashboard import ADMIN_KEY, HOSTILE, PAGES, ask
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN_ENV, USAGE

pytestmark = pytest.mark.slow
FIT = "document.documentElement.scrollWidth <= window.innerWidth"
LOADED = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
READABLE = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    """A proxy with hostile texts in all fields of its ledger."""
    small_server.say(HOSTILE)
    large_server.say("hi", usage=USAGE)
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        env=ADMIN_ENV,
        budgets={"global_usd": 100, "window": "month"},
        ledger={"store_content": True},
    ) as process:
        key = process.cli("keys", "create", HOSTILE, "--budget", "1", check=True).stdout.strip()
        for model in ("cope", "small", f"{HOSTILE}", "direct/big-model"):
            ask(process, key, text=HOSTILE + " What is 2 + 2?", model=model)
        yield process


@pytest.fixture(scope="module")
def chromium():
    """A real Chromium."""
    found = shutil.which("chromium")
    assert found is not None, "Chromium is missing: `make test` installs it from apt"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_in_chromium(proxy, chromium, width, scheme):
    """A person signs in and visits every page, in light and dark, on a screen and on a phone."""
    with chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page = context.new_page()
        problems = []
        page.on(
            "console", lambda message: message.type in ("error", "warning") and problems.append(message.text)
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.goto(f"{proxy.url}/dashboard/spend")
        page.get_by_label("Key").fill(ADMIN_KEY)
        page.get_by_role("button", name="sign in").click()
        assert page.url == f"{proxy.url}/dashboard/spend"
        ids = [row["id"] for row in proxy.rows("SELECT id FROM requests")]
        assert len(ids) >= 3
        for path in (*PAGES, "/spend?by=tag", "/spend?by=user", *(f"/requests/{id_}" for id_ in ids)):
            page.goto(f"{proxy.url}/dashboard{path}", wait_until="load")
            assert page.evaluate(FIT), path
            assert page.evaluate(LOADED), path
            assert not page.evaluate("typeof hacked !== 'undefined'"), path
        dark = page.evaluate(READABLE) != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        page.get_by_role("button", name="sign out").click()
        page.goto(f"{proxy.url}/dashboard")
        assert "/dashboard/sign-in" in page.url
        assert problems == []
