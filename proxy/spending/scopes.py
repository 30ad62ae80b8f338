"""The shared budgets that a request counts against."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from proxy.config.money import Budgets, Limit
from proxy.config.schema import Settings
from proxy.ledger.keys import ApiKey
from proxy.ledger.windows import EPOCH, window_start
from proxy.pricing.money import usd_to_nano
from proxy.records import BudgetRef, Scope, Window
from proxy.spending.payer import Payer


def budgets_of(budgets: Budgets, payer: Payer, zone: ZoneInfo, at: datetime) -> tuple[BudgetRef, ...]:
    """Return the shared budgets that a request of `payer` counts against at a time. The session's comes first.

    Args:
        budgets: the configured budgets.
        payer: the client that pays.
        zone: the time zone in which days, weeks and months begin.
        at: the time.
    """
    refs = []

    def add_limit(scope: Scope, name: str, amount: int, window: Window) -> None:
        start = window_start(window, at, zone)
        refs.append(BudgetRef(scope=scope, name=name, limit=amount, window=window, window_start=start))

    def add(scope: Scope, name: str, limit: Limit | None) -> None:
        if limit is not None:
            add_limit(scope, name, usd_to_nano(limit.usd), limit.window)

    if payer.session is not None:
        refs.append(
            BudgetRef(
                scope="session",
                name=payer.session,
                limit=payer.session_budget,
                window="total",
                window_start=EPOCH,
                owner=payer.key_id or "",
            )
        )
    if (key := payer.key) is not None:
        configured = budgets.keys.get(key.id) or budgets.keys.get(key.name)
        add("key", key.id, configured)
        if configured is None and key.rules.budget is not None:
            add_limit("key", key.id, key.rules.budget, key.rules.budget_window)
        if (team := key.attribution.team) is not None:
            add("team", team, budgets.teams.get(team) or budgets.teams.get("*"))
    if payer.user is not None:
        add("user", payer.user, budgets.users.get(payer.user) or budgets.users.get("*"))
    for tag in payer.tags:
        add("tag", tag, budgets.tags.get(tag) or budgets.tags.get(tag.partition("=")[0] + "=*"))
    add("tag", "cope-audit", payer.audit_limit)
    if budgets.global_usd is not None:
        add("global", "", Limit(usd=budgets.global_usd, window=budgets.window))
    return tuple(refs)


def named_budgets(
    settings: Settings, keys: Iterable[ApiKey], zone: ZoneInfo, at: datetime
) -> dict[tuple[Scope, str], BudgetRef]:
    """Return the budgets that an operator has named, by their scope and name, in their windows at a time.

    These are the global one, those of keys and their teams, those of users and tags with an entry of their own, and the
    one of audits.
    Budgets that clients open are not among them: sessions, and the users and tags of a "*".

    Args:
        settings: the settings.
        keys: the client keys. A budget has the name of its key, or its id if another key has the same name.
        zone: the time zone in which days, weeks and months begin.
        at: the time.
    """
    budgets, audit = settings.budgets, settings.audit
    payers = [
        Payer(),
        *(Payer(user=name) for name in budgets.users if name != "*"),
        *(Payer(tags=(tag,)) for tag in budgets.tags if not tag.endswith("=*")),
    ]
    if audit.share:
        payers.append(Payer(audit_limit=Limit(usd=audit.budget_usd, window=audit.window)))
    found: dict[tuple[Scope, str], BudgetRef] = {}
    for payer in payers:
        found |= {(ref.scope, ref.name): ref for ref in budgets_of(budgets, payer, zone, at)}
    for key in keys:
        for ref in budgets_of(budgets, Payer(key=key), zone, at):
            if ref.scope == "key":
                name = key.id if ("key", key.name) in found else key.name
                found["key", name] = ref
            elif ref.scope == "team":
                found["team", ref.name] = ref
    return found
