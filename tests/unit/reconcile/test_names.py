"""Names of models: aliases, snapshots and display names of the same model meet."""

import pytest

from proxy.reconcile.names import family, groups


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-5.6-sol", "gpt-5-6-sol"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet"),
        ("o3", "o3"),
    ],
)
def test_families(model, name):
    assert family(model) == name


@pytest.mark.parametrize(
    ("ledger", "vendor", "together"),
    [
        (["gpt-4o"], ["gpt-4o-2024-08-06"], [{"gpt-4o", "gpt-4o-2024-08-06"}]),
        # Both sides know the snapshots, which have prices of their own.
        (["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"], ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"],
         [{"gpt-4o-2024-05-13"}, {"gpt-4o-2024-08-06"}]),
        # Nobody knows which of them the alias was.
        (["gpt-4o", "gpt-4o-2024-05-13"], ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"],
         [{"gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-2024-08-06"}]),
        (["gpt-4o-2024-05-13"], ["gpt-4o-2024-08-06"], [{"gpt-4o-2024-05-13"}, {"gpt-4o-2024-08-06"}]),
        (["gpt-4o", "gpt-4o-mini"], ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"],
         [{"gpt-4o", "gpt-4o-2024-08-06"}, {"gpt-4o-mini", "gpt-4o-mini-2024-07-18"}]),
        (["claude-haiku-4-5-20251001"], ["Claude Haiku 4.5"], [{"claude-haiku-4-5-20251001", "Claude Haiku 4.5"}]),
        (["GPT-4o"], ["gpt-4o"], [{"GPT-4o", "gpt-4o"}]),
    ],
)  # fmt: skip
def test_groups(ledger, vendor, together):
    found = {}
    for model, name in groups(ledger, vendor).items():
        found.setdefault(name, set()).add(model)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, together))
