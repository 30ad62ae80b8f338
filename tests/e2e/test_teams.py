"""Teams of keys, as operators, accountants and the teams themselves meet them."""

import csv
import io
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest

from tests.support.alerts import alerting
from tests.support.dashboard import ADMIN_KEY, links, signed_in
from tests.support.receiver import Receiver
from tests.support.spending import ADMIN, ADMIN_ENV, SOON, USAGE, ask

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver():
    """A target that takes everything."""
    with Receiver() as found:
        yield found


MARKUP = '<script>x=1</script>[red]"&'


def new_key(proxy, name, *options):
    return proxy.cli("keys", "create", name, *options, check=True).stdout.strip()


def id_of(key):
    return key.split("-")[2]


def spent_by(proxy, by, key=None, **query):
    """Return cost and share of each group, as the API reports them."""
    headers = ADMIN if key is None else {"Authorization": f"Bearer {key}"}
    answer = proxy.http(headers=headers).get("/v1/spend", params={"by": by, **query})
    assert answer.status_code == 200, answer.text
    return {row["group"]: (row["cost_usd"], row["share"]) for row in answer.json()["data"]}


def test_keys_of_a_team_share_its_budget(make_proxy, large_server):
    """The error names the team. Another team, and a key without a team, have money of their own."""
    large_server.say("hi", usage=USAGE)  # 0.0035 USD
    teams = {"search": {"usd": 0.005, "window": "month"}, "*": {"usd": 0.02, "window": "day"}}
    proxy = make_proxy(budgets={"teams": teams, **SOON}, env=ADMIN_ENV)
    ann, bob = (new_key(proxy, name, "--team", "search") for name in ("ann", "bob"))
    zoe, free = new_key(proxy, "zoe", "--team", "ads"), new_key(proxy, "free")
    assert ask(proxy, ann).cope["budget_remaining_usd"] == "0.0015"
    with pytest.raises(openai.RateLimitError) as e:
        ask(proxy, bob)
    assert e.value.code == "insufficient_quota"
    assert "the team budget of 'search' leaves 0.0015 of 0.005 USD" in e.value.message
    assert ask(proxy, zoe).cope["budget_remaining_usd"] == "0.0165"
    assert ask(proxy, free).cope["budget_remaining_usd"] is None
    budgets = proxy.http(headers=ADMIN).get("/v1/admin/budgets").json()["data"]
    assert {(b["scope"], b["name"], b["window"], b["spent_usd"]) for b in budgets} == {
        ("team", "search", "month", "0.0035"), ("team", "ads", "day", "0.0035"),
    }  # fmt: skip
    assert "search" in proxy.cli("budgets", "list").stdout


def test_concurrent_keys_never_overspend(make_proxy, large_server):
    """Forty requests at once, of four keys of a team, on a budget for ten. Every key has money enough."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"teams": {"*": {"usd": 0.04}}, "wait_s": 30}, env=ADMIN_ENV)
    keys = [new_key(proxy, f"k{i}", "--team", "search", "--budget", "1") for i in range(4)]

    def one(i):
        try:
            ask(proxy, keys[i % 4])
        except openai.RateLimitError as e:
            return e.code
        return "answered"

    with ThreadPoolExecutor(40) as pool:
        outcomes = list(pool.map(one, range(40)))
    spent = {b["name"]: b for b in proxy.http(headers=ADMIN).get("/v1/admin/budgets").json()["data"]}
    answered = outcomes.count("answered")
    assert 8 <= answered <= 11
    assert set(outcomes) == {"answered", "insufficient_quota"}
    assert Decimal(spent["search"]["spent_usd"]) == answered * Decimal("0.0035") <= Decimal("0.04")
    assert spent["search"]["reserved_usd"] == "0"


def test_moved_keys_leave_the_past(make_proxy, large_server):
    """A call belongs to the team that its key had then, in every report. Sums are the total."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"teams": {"search": {"usd": 0.01}}, **SOON}, env=ADMIN_ENV)
    admin = proxy.http(headers=ADMIN)
    body = {"name": "ann", "team": "search", "cost_center": "4711", "environment": "production"}
    made = admin.post("/v1/admin/keys", json=body).json()
    first = ask(proxy, made["key"]).cope["request_id"]
    ask(proxy, new_key(proxy, "bob"))
    moved = admin.patch(f"/v1/admin/keys/{made['id']}", json={"team": "ads", "environment": None})
    assert moved.json() == {"object": "key", "id": made["id"], "team": "ads", "environment": None}
    for _ in range(2):
        assert ask(proxy, made["key"]).cope["budget_remaining_usd"] is None  # "ads" has no budget
    assert spent_by(proxy, "team") == {
        "ads": ("0.007", 0.5), "search": ("0.0035", 0.25), None: ("0.0035", 0.25),
    }  # fmt: skip
    assert spent_by(proxy, "team", since="2h") == spent_by(proxy, "team")
    assert spent_by(proxy, "cost_center") == {"4711": ("0.0105", 0.75), None: ("0.0035", 0.25)}
    assert spent_by(proxy, "environment") == {"production": ("0.0035", 0.25), None: ("0.0105", 0.75)}

    # With the command a key moves back, and out of every team.
    proxy.cli("keys", "update", made["id"], "--team", "search", "--cost-center", "", check=True)
    (ann, _) = admin.get("/v1/admin/keys").json()["data"]
    assert (ann["team"], ann["cost_center"], ann["environment"]) == ("search", None, None)
    listed = proxy.cli("keys", "list").stdout
    assert "team search" in listed
    assert "4711" not in listed

    story = proxy.cli("requests", "show", first).stdout
    assert {"team: search", "cost_center: 4711", "environment: production"} <= set(story.splitlines())

    shown = proxy.cli("spend", "--by", "team").stdout
    rows = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert list(rows) == ["ads", "search", "unattributed", "all"]
    assert "25.0%" in rows["unattributed"]
    assert "0.014" in rows["all"]
    as_json = json.loads(proxy.cli("spend", "--by", "team", "--json").stdout)
    assert sum(row["cost"] for row in as_json) == 14_000_000
    as_csv = list(csv.DictReader(io.StringIO(proxy.cli("spend", "--by", "team", "--csv").stdout)))
    assert [(row["group"], row["share"]) for row in as_csv] == [
        ("ads", "0.5"),
        ("search", "0.25"),
        ("", "0.25"),
    ]


def test_keys_of_a_team_do_not_see_each_other(make_proxy, large_server):
    """A key sees its own part of its team's spend, and neither the budget of the team nor other requests."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"teams": {"search": {"usd": 1}}}, env=ADMIN_ENV)
    ann, bob = (new_key(proxy, name, "--team", "search") for name in ("ann", "bob"))
    for key in (ann, bob, bob):
        ask(proxy, key)
    assert spent_by(proxy, "team", ann) == {"search": ("0.0035", 1.0), None: ("0", 0.0)}
    assert spent_by(proxy, "team") == {"search": ("0.0105", 1.0), None: ("0", 0.0)}
    own = proxy.http(headers={"Authorization": f"Bearer {ann}"}).get("/v1/spend/requests").json()["data"]
    assert [(row["key_id"], row["team"]) for row in own] == [(id_of(ann), "search")]
    assert "team search" not in signed_in(proxy, ann).get("/dashboard/budgets").text
    assert "team search" in signed_in(proxy, ADMIN_KEY).get("/dashboard/budgets").text
    change = proxy.http(headers={"Authorization": f"Bearer {ann}"}).patch(
        f"/v1/admin/keys/{id_of(ann)}", json={"team": "ads"}
    )
    assert change.status_code == 403


def test_pages_show_teams(make_proxy, large_server):
    """The dashboard has the three groupings, with the unattributed share. Markup in a name is text."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"teams": {"*": {"usd": 1}}}, env=ADMIN_ENV)
    key = new_key(proxy, "ann", "--team", MARKUP, "--cost-center", MARKUP)
    for given in (new_key(proxy, "bob"), key, key, key):
        made = ask(proxy, given)
    client = signed_in(proxy)
    for page, expected in (
        ("spend?by=team", ("75.0 %", "unattributed", "25.0 %")),
        ("spend?by=cost_center", ("75.0 %",)),
        ("spend?by=environment", ("unattributed", "100.0 %")),
        ("budgets", ("team &lt;script&gt;",)),
        (f"requests/{made.cope['request_id']}", ("<dt>team</dt>", "&lt;script&gt;")),
    ):
        text = client.get(f"/dashboard/{page}").text
        assert MARKUP not in text
        assert [part for part in expected if part not in text] == [], page
        links(text)
    assert MARKUP in proxy.cli("spend", "--by", "team").stdout
    assert "<script>x=1</script>" in proxy.cli("keys", "list").stdout


def test_hostile_names_are_refused(make_proxy):
    """A name that nobody can read or tell from others is a 400, and an error of the command."""
    proxy = make_proxy(env=ADMIN_ENV)
    admin = proxy.http(headers=ADMIN)
    made = admin.post("/v1/admin/keys", json={"name": "ann"}).json()
    fields = ("team", "cost_center", "environment")
    for name, field in itertools.product(("", "x" * 65, "a\nb", "\x1b[31m", "a\u202eb", "*"), fields):
        for answer in (
            admin.post("/v1/admin/keys", json={"name": "bob", field: name}),
            admin.patch(f"/v1/admin/keys/{made['id']}", json={field: name}),
        ):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    refused_name = proxy.cli("keys", "create", "bob", "--cost-center", "\x1b[31m")
    assert (refused_name.returncode, "visible characters" in refused_name.stderr) == (2, True)
    assert proxy.cli("keys", "update", made["id"], "--team", "unattributed").returncode == 2
    assert [key["team"] for key in admin.get("/v1/admin/keys").json()["data"]] == [None]


def test_mistakes_are_explained(make_proxy):
    """A key that does not exist, and a change of nothing."""
    proxy = make_proxy(env=ADMIN_ENV)
    admin = proxy.http(headers=ADMIN)
    assert admin.patch("/v1/admin/keys/nobody", json={"team": "ads"}).status_code == 404
    assert admin.patch("/v1/admin/keys/nobody", json={}).status_code == 400
    assert admin.patch("/v1/admin/keys/nobody", json={"budget": 1}).status_code == 400
    unknown = proxy.cli("keys", "update", "nobody", "--team", "ads")
    assert (unknown.returncode, "keys list" in unknown.stderr) == (1, True)
    assert proxy.cli("keys", "update", "nobody").returncode == 2


def test_alerts_name_the_team(make_proxy, large_server, receiver):
    """A fraction of a team's budget is an alert like any other."""
    large_server.say("hi", usage=USAGE)
    settings = alerting(receiver, {"on": "budget", "at": [0.5], "scopes": ["team"]})
    env = {**settings.pop("env"), **ADMIN_ENV}
    proxy = make_proxy(**settings, env=env, budgets={"teams": {"*": {"usd": 0.005, "window": "month"}}})
    ask(proxy, new_key(proxy, "ann", "--team", "search"))
    (first,) = receiver.wait(1)
    data = first.verified()["data"]
    assert (data["scope"], data["name"], data["key_id"]) == ("team", "search", None)
    assert data["title"] == "50 % of the month budget of team search is used"


def test_metrics_have_team_budgets(make_proxy, large_server):
    """The budget of a team is one series, however many keys the team has."""
    large_server.say("hi", usage=USAGE)
    proxy = make_proxy(budgets={"teams": {"*": {"usd": 0.007}}}, env=ADMIN_ENV)
    ann = new_key(proxy, "ann", "--team", "search")
    new_key(proxy, "bob", "--team", "search")
    ask(proxy, ann)
    proxy.http(headers=ADMIN).get("/v1/spend")
    lines = proxy.http(headers=ADMIN).get("/metrics").text.splitlines()
    used = [line for line in lines if line.startswith("cope_budget_used_ratio{") and 'scope="team"' in line]
    assert used == ['cope_budget_used_ratio{name="search",scope="team",window="total"} 0.5']
