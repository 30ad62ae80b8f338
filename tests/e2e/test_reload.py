"""The config of a running proxy is replaced as a whole or not at all, and no request notices."""

import itertools
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cascade import ask, goals_and
from tests.support.config import SMALL_MODEL
from tests.support.proxy_process import ProxyProcess
from tests.support.standin_process import StandIn
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

ADMIN = {"COPE_ADMIN_KEY": "sk-admin"}
HEADERS = {"authorization": "Bearer sk-admin"}


def edit(proxy, old, new):
    """Replace a text in the config file, whose keys lose their quotes."""
    text = re.sub(r'"(\w+)" =', r"\1 =", proxy.config_file.read_text())
    assert old in text
    proxy.config_file.write_text(text.replace(old, new))


def reload(proxy):
    """Ask the proxy to reload, and return its answer."""
    return proxy.http(headers=HEADERS).post("/v1/admin/reload")


def reloads(proxy):
    """Count the configs that the proxy has taken over."""
    return len(re.findall("the config is [0-9a-f]{12} now", proxy.output()))


def test_reload_under_load(make_proxy, small_server, large_server):
    """Twenty reloads while eight clients ask and stream: no request fails, and each row has the config that it had."""
    small_server.script(*goals_and("42", "43"))
    proxy = make_proxy(env=ADMIN, cascade={"samples": 2})
    client, ended, failures, numbers = proxy.client(), threading.Event(), [], itertools.count()

    def keep_asking(number):
        asked = 0
        while not (ended.is_set() or failures):
            try:
                answer = ask(client, f"What is {next(numbers)} times 7?", stream=bool(number % 2))
                text = (
                    "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
                    if number % 2
                    else ""
                )
                assert text or answer.choices[0].message.content
            except Exception as e:
                failures.append(e)
            asked += 1
        return asked

    digests = []
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(keep_asking, number) for number in range(8)]
        try:
            for number in range(20):
                edit(proxy, f"samples = {2 + number % 2}", f"samples = {3 - number % 2}")
                if number % 4 < 2:
                    answer = reload(proxy)
                    assert answer.status_code == 200, answer.text
                    assert [change["key"] for change in answer.json()["changed"]] == ["cascade.samples"]
                    digests.append(answer.json()["config"])
                else:
                    proxy._running().send_signal(signal.SIGHUP)
                wait_until(lambda n=number: reloads(proxy) == n + 1, "the reload", 30)
        finally:
            ended.set()
        assert sum(task.result() for task in asking) > 40
    assert failures == []
    assert len(set(digests)) == 2
    found = {row["config"] for row in proxy.rows("SELECT DISTINCT config FROM requests WHERE status = 200")}
    assert found == set(digests)
    request = proxy.http(headers=HEADERS).get("/v1/spend/requests").json()["data"][0]
    assert request["config"] in found
    assert f"config: {request['config']}" in proxy.cli("requests", "show", request["id"], check=True).stdout


def test_requests_under_way_keep_their_config(make_proxy, small_server, large_server):
    """A vote ends at the server and with the samples that it began with. The next request has the new ones."""
    goal, *_ = goals_and()
    small_server.script(goal, {"reply": {"content": "\\boxed{42}", "release": "vote"}})
    with StandIn([SMALL_MODEL]) as other:
        other.script(*goals_and("\\boxed{42}"))
        proxy = make_proxy(env=ADMIN, cascade={"samples": 4, "early_stop": False})
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, proxy.client())
            small_server.wait_waiting("vote", 4)
            edit(proxy, "samples = 4", "samples = 2")
            edit(proxy, small_server.base_url, other.base_url)
            changed = {
                change["key"]: (change["old"], change["new"]) for change in reload(proxy).json()["changed"]
            }
            assert changed["cascade.samples"] == ("4", "2")
            assert changed["small.base_url"] == (f'"{small_server.base_url}"', f'"{other.base_url}"')
            new = ask(proxy.client(), "What is 6 times 7? Please calculate.")
            small_server.open_gate("vote")
            old = asked.result(timeout=30)
    assert [(s["of"], s["agreed"]) for s in old.cope["stages"]] == [(4, 4)]
    assert [(s["of"], s["agreed"]) for s in new.cope["stages"]] == [(2, 2)]
    assert large_server.chats() == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("samples = 4", "samples = four", "not valid TOML"),
        ("samples = 4", "sample = 4", "cascade.sample"),
        ("samples = 4", "samples = 99", "cascade.samples"),
        ('api_key_env = "OPENAI_API_KEY"', 'api_key_env = "NO_SUCH_KEY"', "large.api_key_env"),
        ('host = "127.0.0.1"', 'host = "127.0.0.2"', "server.host"),
        ("sqlite+aiosqlite:///", "sqlite+aiosqlite:///secret-folder", "database.url"),
        ('host = "127.0.0.1"', 'host = "127.0.0.1"\nworkers = 2', "server.workers"),
        ("[cascade]", '[ledger]\nspool_dir = "elsewhere"\n[cascade]', "ledger.spool_dir"),
    ],
)
def test_bad_config_changes_nothing(bad_proxy, old, new, key):
    """The answer and the log name the key, and everything goes on with the old config."""
    before = bad_proxy.config_file.read_text()
    edit(bad_proxy, "samples = 4", "early_stop = false\nsamples = 4")
    edit(bad_proxy, old, new)
    try:
        answer = reload(bad_proxy)
        bad_proxy._running().send_signal(signal.SIGHUP)
        wait_until(
            lambda: (
                f"nothing has changed: {answer.json()['error']['message'].partition('changed: ')[2]}"
                in bad_proxy.output()
            ),
            "the line of the log",
        )
    finally:
        bad_proxy.config_file.write_text(before)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_config")
    assert key in error["message"]
    assert "secret-folder" not in error["message"]
    same = reload(bad_proxy).json()
    assert same["changed"] == []
    assert ask(bad_proxy.client()).choices
    assert reloads(bad_proxy) == 0


@pytest.fixture(scope="module")
def bad_proxy(small_server, large_server, tmp_path_factory):
    """A proxy with an admin key that the cases share."""
    urls = small_server.base_url, large_server.base_url
    with ProxyProcess(tmp_path_factory.mktemp("proxy"), *urls, env=ADMIN) as process:
        yield process


def test_only_the_admin_reloads(bad_proxy):
    """A client's key, and a request without one, get a 403 or a 401."""
    assert bad_proxy.http().post("/v1/admin/reload").status_code in (401, 403)
    assert bad_proxy.http(headers={"authorization": "Bearer sk-no"}).post("/v1/admin/reload").status_code in (
        401,
        403,
    )


def test_every_worker_reloads(make_proxy):
    """One call, or one signal to the parent, reaches both. None of them is replaced."""
    proxy = make_proxy(env=ADMIN, server={"workers": 2})
    started = "Application startup complete"
    wait_until(lambda: proxy.output().count(started) == 2, "both workers to have started", 60)
    edit(proxy, "samples = 4", "samples = 3")
    digest = reload(proxy).json()["config"]
    wait_until(lambda: proxy.output().count(f"the config is {digest} now") == 2, "both workers", 30)
    edit(proxy, "samples = 3", "samples = 2")
    proxy._running().send_signal(signal.SIGHUP)
    wait_until(lambda: reloads(proxy) == 4, "both workers", 30)
    assert proxy.output().count("Started server process") == 2
    for _ in range(6):
        assert ask(proxy.client()).cope["stages"][0]["of"] == 2


def test_signal_to_starting_workers(small_server, large_server, tmp_path):
    """Workers that get signals while they start are not replaced, and none of them keeps the old config."""
    proxy = ProxyProcess(
        tmp_path, small_server.base_url, large_server.base_url, env=ADMIN, server={"workers": 2}
    )
    proxy.log_file.touch()
    ended = threading.Event()

    def keep_calling():
        wait_until(lambda: "Started parent process" in proxy.output(), "the parent", 60)
        while not ended.wait(0.02):
            proxy._running().send_signal(signal.SIGHUP)

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(keep_calling)
        with proxy:
            try:
                edit(proxy, "samples = 4", "samples = 3")
                started = "Application startup complete"
                wait_until(lambda: proxy.output().count(started) == 2, "both workers to have started", 60)
            finally:
                ended.set()
            calling.result()
            assert proxy.output().count("Started server process") == 2
            # Each client has a connection of its own, so this many reach both workers.
            wait_until(
                lambda: all(ask(proxy.client()).cope["stages"][0]["of"] == 3 for _ in range(12)),
                "the new config in both workers",
                30,
            )


def test_audits_and_prices_follow(make_proxy, large_server):
    """What works in the background has the new settings too: nothing was audited, then everything is, at the new price."""
    proxy = make_proxy(env=ADMIN)
    ask(proxy.client())
    edit(proxy, "[cascade]", "[audit]\nshare = 1.0\n[cascade]")
    edit(proxy, "output_per_mtok = 10", "output_per_mtok = 20")
    assert reload(proxy).status_code == 200
    ask(proxy.client())
    wait_until(lambda: proxy.rows("SELECT * FROM audits"), "the audit")
    calls = proxy.rows("SELECT * FROM calls WHERE tier = 'large' ORDER BY started_at")
    assert [calls[i]["output_per_mtok_nano"] for i in (0, -1)] == [10_000_000_000, 20_000_000_000]
