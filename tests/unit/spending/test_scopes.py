"""The shared budgets that a request counts against."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest

from proxy.config.money import Budgets, Limit
from proxy.config.schema import Audit, Settings
from proxy.ledger.keys import ApiKey, KeyRules
from proxy.ledger.windows import EPOCH
from proxy.records import Attribution, BudgetRef
from proxy.spending.payer import Payer
from proxy.spending.scopes import budgets_of, named_budgets

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 10, 15, 12, tzinfo=UTC)  # a Thursday
TODAY = datetime(2026, 10, 14, 22, tzinfo=UTC)
THIS_MONTH = datetime(2026, 9, 30, 22, tzinfo=UTC)
NANO = 10**9


def key(team=None, **rules):
    return ApiKey(
        id="k1",
        name="ann",
        created_at=NOON,
        revoked_at=None,
        rules=KeyRules(**rules),
        attribution=Attribution(team=team),
    )


def scopes(budgets, **payer):
    return budgets_of(budgets, Payer(**payer), BERLIN, NOON)


def test_no_budgets():
    """Nothing limits a request without a session if the config has no budgets."""
    assert scopes(Budgets(), user="zoe", tags=("team=search",), key=key()) == ()


def test_session_comes_first():
    """`open` writes the first budget, and a session belongs to the key that opened it."""
    budgets = Budgets(global_usd=Decimal(1), window="month")
    found = scopes(budgets, session="s", session_budget=5, key=key())
    assert found == (
        BudgetRef(scope="session", name="s", limit=5, window="total", window_start=EPOCH, owner="k1"),
        BudgetRef(scope="global", name="", limit=NANO, window="month", window_start=THIS_MONTH),
    )
    assert scopes(Budgets(), session="s") == (
        BudgetRef(scope="session", name="s", limit=None, window="total", window_start=EPOCH, owner=""),
    )


@pytest.mark.parametrize("name", ["k1", "ann"])
def test_configured_key_budget(name):
    """The config names a key by its id or its name, and overrides the key's own budget."""
    budgets = Budgets(keys={name: Limit(usd=Decimal(2), window="day")})
    assert scopes(budgets, key=key(budget=7)) == (
        BudgetRef(scope="key", name="k1", limit=2 * NANO, window="day", window_start=TODAY),
    )


def test_own_key_budget():
    """A budget that was set when the key was created."""
    found = scopes(Budgets(), key=key(budget=7, budget_window="month"))
    assert found == (BudgetRef(scope="key", name="k1", limit=7, window="month", window_start=THIS_MONTH),)


@pytest.mark.parametrize(("user", "usd"), [("zoe", 2), ("tim", 1)])
def test_user_budgets(user, usd):
    """A user's own limit comes before the one for every user."""
    budgets = Budgets(users={"*": Limit(usd=Decimal(1)), "zoe": Limit(usd=Decimal(2))})
    assert scopes(budgets, user=user) == (
        BudgetRef(scope="user", name=user, limit=usd * NANO, window="total", window_start=EPOCH),
    )


def test_tag_budgets():
    """A limit holds for one value of a tag, or for each value. Other tags have none."""
    budgets = Budgets(tags={"team=*": Limit(usd=Decimal(1)), "team=ads": Limit(usd=Decimal(2))})
    found = scopes(budgets, tags=("team=ads", "team=search", "place=here"))
    assert [(ref.name, ref.limit) for ref in found] == [("team=ads", 2 * NANO), ("team=search", NANO)]


@pytest.mark.parametrize(("team", "usd"), [("search", 2), ("ads", 1)])
def test_team_budgets(team, usd):
    """A team's own limit comes before the one for every team, and the budget of the key holds as well."""
    budgets = Budgets(
        teams={"*": Limit(usd=Decimal(1), window="month"), "search": Limit(usd=Decimal(2), window="month")}
    )
    found = scopes(budgets, key=key(team=team, budget=7))
    assert [(ref.scope, ref.name) for ref in found] == [("key", "k1"), ("team", team)]
    assert found[1] == BudgetRef(
        scope="team", name=team, limit=usd * NANO, window="month", window_start=THIS_MONTH
    )


def test_keys_without_a_team():
    """The budget for every team is for none of them. A team without an entry has no budget."""
    assert scopes(Budgets(teams={"*": Limit(usd=Decimal(1))}), key=key()) == ()
    assert scopes(Budgets(teams={"ads": Limit(usd=Decimal(1))}), key=key(team="search")) == ()


def test_audit_budget():
    """All audits share one limit, whatever their tag says."""
    found = scopes(Budgets(), tags=("cope-audit=math",), audit_limit=Limit(usd=Decimal(1), window="day"))
    assert found == (BudgetRef(scope="tag", name="cope-audit", limit=NANO, window="day", window_start=TODAY),)


def test_named_budgets():
    """An operator has named the global budget, those of keys and teams, and the entries of users, tags and audits."""
    limit = Limit(usd=Decimal(2), window="day")
    settings = Settings(
        budgets=Budgets(
            global_usd=Decimal(1),
            window="month",
            teams={"*": limit},
            users={"zoe": limit, "*": limit},
            tags={"team=search": limit, "team=*": limit},
        ),
        audit=Audit(share=0.1),
    )
    keys = [
        key(budget=5),
        msgspec.structs.replace(key(budget=6, team="search"), id="k2"),  # another key with the same name
        msgspec.structs.replace(key(team="search"), id="k3", name="bob"),
    ]
    found = named_budgets(settings, keys, BERLIN, NOON)
    assert {name: ref.limit for name, ref in found.items()} == {
        ("global", ""): NANO,
        ("user", "zoe"): 2 * NANO,
        ("tag", "team=search"): 2 * NANO,
        ("tag", "cope-audit"): NANO,
        ("team", "search"): 2 * NANO,
        ("key", "ann"): 5,
        ("key", "k2"): 6,
    }
    assert found["key", "ann"].name == "k1"
