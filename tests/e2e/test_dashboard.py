"""The dashboard over HTTP: its figures are those of the API, and each viewer sees no more than their own."""

import itertools
import xml.dom.minidom
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.support.dashboard import (
    ADMIN_KEY,
    HOSTILE,
    HOSTILE_HEADER,
    OF_ONE_KEY,
    PAGES,
    ask,
    figures,
    links,
    signed_in,
)
from tests.support.proxy_process import ProxyProcess
from tests.support.spending import ADMIN, ADMIN_ENV, USAGE
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow
COOKIE = "cope_dashboard"


@pytest.fixture(scope="module")
def proxy(small_server, large_server, tmp_path_factory):
    """A proxy with two keys and some requests of each, all of their texts hostile."""
    large_server.say("hi", usage=USAGE)
    with ProxyProcess(
        tmp_path_factory.mktemp("proxy"),
        small_server.base_url,
        large_server.base_url,
        env=ADMIN_ENV,
        budgets={"global_usd": 100, "window": "month"},
    ) as process:
        yield process


@pytest.fixture(scope="module")
def keys(proxy):
    """Two keys, and the id of a request of each."""
    made = {}
    for name in ("ann", HOSTILE):
        key = proxy.cli("keys", "create", name, "--budget", "1", check=True).stdout.strip()
        made[key] = ask(proxy, key)
        ask(proxy, key, text="x" * 100)
    return made


def test_figures_equal_the_api(proxy, keys):
    """The page shows the cost, the baseline and the number of requests that the API reports."""
    api = proxy.http(headers=ADMIN).get("/v1/spend?since=today").json()
    shown = figures(signed_in(proxy).get("/dashboard?range=today").text)
    rows = api["data"]
    assert int(shown["requests"]) == sum(row["requests"] for row in rows) == 4
    for label, name in (("spent", "cost_usd"), ("large model alone", "baseline_usd")):
        amount = sum(Decimal(row[name]) for row in rows)
        assert amount > 0
        assert abs(Decimal(shown[label].strip("$")) - amount) < amount / 100


def test_every_link_works(proxy, keys):
    """A person who follows every link meets no error, no script, and no other site."""
    client = signed_in(proxy)
    waiting, seen = ["/dashboard"], set()
    while waiting:
        path = waiting.pop()
        if path in seen or path == "/dashboard/sign-in" or len(seen) > 300:
            continue
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "script" not in policy
        if answer.headers["content-type"].startswith("text/html"):
            assert HOSTILE not in answer.text, path
            assert HOSTILE_HEADER not in answer.text, path
            waiting += links(answer.text)
        elif "svg" in answer.headers["content-type"]:
            xml.dom.minidom.parseString(answer.content)
    assert {"/dashboard" + page for page in PAGES} <= seen
    assert all(path.startswith("/dashboard") for path in seen)
    assert {f"/dashboard/requests/{id_}" for id_ in keys.values()} <= seen


def test_keys_see_their_own(proxy, keys):
    """A key finds none of another key's requests, by any page, filter or address."""
    (key, own), (_, foreign) = keys.items()
    client = signed_in(proxy, key)
    for page in (*OF_ONE_KEY, f"/requests/{own}"):
        answer = client.get(f"/dashboard{page}")
        assert (answer.status_code, foreign in answer.text) == (200, False), page
    other = next(k for k in keys if k != key).split("-")[2]
    assert foreign not in client.get(f"/dashboard/requests?key={other}").text
    assert other not in client.get("/dashboard/budgets").text
    for page, status in ((f"/requests/{foreign}", 404), (f"/requests/{foreign}/calls.svg", 404)):
        assert client.get(f"/dashboard{page}").status_code == status
    assert [client.get(f"/dashboard/{page}").status_code for page in ("quality", "health")] == [403, 403]


@pytest.mark.parametrize("page", [*PAGES, "/charts/days.svg", "/requests/req_x"])
def test_strangers_sign_in_first(proxy, keys, page):
    """Without a valid cookie every page leads to the form, which leads back."""
    (key, _), _ = keys.items()
    good = dict(signed_in(proxy, key).cookies)[COOKIE]
    name, ends, signature = good.split(".")
    admin = dict(signed_in(proxy).cookies)[COOKIE].split(".")
    forged = [
        None,
        "",
        "x",
        f"{name}.{ends}",
        f"{name}.{int(ends) + 1}.{signature}",
        f"{name}.1.{signature}",
        f"admin.{ends}.{signature}",
        f"{name}.{ends}.{admin[2]}",
        f"{name}.{'9' * 400}.{signature}",
        f"{'a' * 12}.{ends}.{signature}",
        good[:-1] + ("0" if good[-1] != "0" else "1"),
    ]
    for cookie in forged:
        headers = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
        answer = proxy.http(headers=headers).get(f"/dashboard{page}")
        assert answer.status_code == 303, cookie
        assert answer.headers["location"].startswith("/dashboard/sign-in?next=%2Fdashboard"), cookie


def test_cookie_holds_no_secret(proxy, keys):
    """The cookie is for the dashboard only, out of reach of scripts and other sites, and holds no part of the secret."""
    for key in (ADMIN_KEY, *keys):
        answer = proxy.http().post("/dashboard/sign-in", data={"key": key, "next": "/dashboard/spend?by=day"})
        cookie = answer.headers["set-cookie"]
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/spend?by=day")
        assert {"HttpOnly", "Path=/dashboard", "SameSite=strict"} <= set(cookie.split("; "))
        assert key.split("-")[-1] not in cookie


def test_sign_in_ends_with_the_key(proxy):
    """A key that gets a new secret, or is revoked, is signed out at once."""
    key = proxy.cli("keys", "create", "bob", check=True).stdout.strip()
    public = key.split("-")[2]
    client = signed_in(proxy, key)
    assert "bob" in client.get("/dashboard").text
    new = proxy.cli("keys", "rotate", public, check=True).stdout.split()[0]
    assert "Sign in" in client.get("/dashboard").text
    client = signed_in(proxy, new)
    assert "bob" in client.get("/dashboard").text
    proxy.cli("keys", "revoke", public, check=True)
    assert "Sign in" in client.get("/dashboard").text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example/dashboard",
        "/v1/spend",
        "/dashboard\\..\\x",
        "javascript:1",
        "/dashboardx",
        "",
    ],
)
def test_sign_in_stays_here(proxy, keys, target):
    """The form leads to pages of the dashboard only, whatever its link says."""
    answer = proxy.http().post("/dashboard/sign-in", data={"key": ADMIN_KEY, "next": target})
    assert answer.headers["location"] == "/dashboard"


def test_other_sites_cannot_sign_in(proxy, keys):
    """No other site can fill in the form for a person, and a wrong key is told so."""
    headers = [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
    for path, given in itertools.product(("sign-in", "sign-out"), headers):
        answer = proxy.http(headers=given).post(f"/dashboard/{path}", data={"key": ADMIN_KEY})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    wrong = proxy.http().post("/dashboard/sign-in", data={"key": "sk-cope-wrong"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert "cope-proxy keys create" in wrong.text


def test_search_finds_requests(proxy, keys):
    """Each filter narrows the list as it says."""
    client = signed_in(proxy)
    ids = set(keys.values())

    def found(**query):
        page = client.get("/dashboard/requests", params=query).text
        return {id_ for id_ in ids if id_ in page}

    assert found() == ids
    assert found(session=HOSTILE_HEADER, user=HOSTILE, stage="3", result="answered") == ids
    assert not found(session="other")
    assert not found(stage="1")
    assert not found(result="failed")
    (key, own), _ = keys.items()
    assert found(key=key.split("-")[2]) == {own}
    assert own in client.get("/dashboard/requests", params={"id": f" {own} "}).text


def test_empty_ledger_has_pages(make_proxy):
    """Before the first request every page says so, also to anybody while no key exists."""
    proxy = make_proxy()
    for page in PAGES:
        answer = proxy.http().get(f"/dashboard{page}")
        assert answer.status_code == 200, page
        links(answer.text)
    assert "Point an OpenAI client at" in proxy.http().get("/dashboard").text
    home = proxy.http(headers={"accept": "text/html,*/*"}).get("/")
    assert (home.status_code, home.headers["location"]) == (302, "/dashboard")
    assert proxy.http().get("/").status_code == 404
    assert proxy.http().get("/dashboard?range=ever").status_code == 400


def test_requests_under_way_are_shown(proxy, keys, large_server):
    """A request is under way until it has its answer, for its key and the admin only."""
    (key, _), (other, _) = keys.items()
    large_server.script({"reply": {"content": "hi", "release": "go"}})
    readers = [signed_in(proxy, secret) for secret in (ADMIN_KEY, key, other)]

    def shown():
        pages = [client.get("/dashboard/latest").text for client in readers]
        return ["No request is under way." not in page for page in pages]

    assert shown() == [False, False, False]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, proxy, key)
        wait_until(lambda: shown() == [True, True, False], "the request to be shown")
        running = readers[0].get("/dashboard/latest").text.partition("<h1>Latest")[0]
        large_server.open_gate("go")
        assert waiting.result() in running
    wait_until(lambda: shown() == [False, False, False], "the request to have ended")
