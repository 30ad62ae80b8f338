"""Operators fix task kinds by system prompt, model and key."""

import pytest

from proxy.cascade.detection import prompt_hash
from tests.support.cascade import MATH, goals_and

SYSTEM = "Answer like a pirate."
KINDS = {
    f"system={prompt_hash(SYSTEM)[:12]}": "open",
    "model=sums": "choice",
    "model=cope": "code",
    "key=reviewers": "code",
}


@pytest.fixture
def proxy(make_proxy, small_server, large_server):
    """A proxy with fixed kinds."""
    small_server.script(*goals_and("It is \\boxed{42}."))
    large_server.say("It is 42.")
    return make_proxy(cascade={"kinds": KINDS, "aliases": ["cope", "sums", "plain"]})


@pytest.mark.parametrize(
    ("model", "system", "headers", "kind"),
    [
        ("plain", None, {}, "math"),
        ("sums", None, {}, "choice"),
        ("cope", None, {}, "code"),
        ("sums", SYSTEM, {}, "open"),
        ("sums", f"{SYSTEM}\n", {}, "open"),
        ("sums", SYSTEM, {"X-COPE-Task": "math"}, "math"),
    ],
)
def test_order_of_fixed_kinds(proxy, model, system, headers, kind):
    """The header goes first, then the system prompt, then the model, then detection."""
    messages = [{"role": "system", "content": system}] if system else []
    with proxy.client() as client:
        answer = client.chat.completions.create(
            model=model, messages=[*messages, {"role": "user", "content": MATH}], extra_headers=headers
        )
    assert answer.model_extra["cope"]["task"] == kind


@pytest.mark.parametrize(("name", "model", "kind"), [("reviewers", "plain", "code"), ("others", "plain", "math"),
                                                     ("reviewers", "sums", "choice")])  # fmt: skip
def test_key_fixes_the_kind(proxy, name, model, kind):
    """A key has a kind by its name, unless its model has one."""
    key = proxy.cli("keys", "create", name, check=True).stdout.strip()
    with proxy.client(key) as client:
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": MATH}])
    assert answer.model_extra["cope"]["task"] == kind


def test_prompt_hash_command(proxy, tmp_path):
    """The command prints the hash of a file."""
    (tmp_path / "prompt.txt").write_text(f"{SYSTEM}\n")
    assert proxy.cli_without_config(
        "prompt-hash", str(tmp_path / "prompt.txt")
    ).stdout.strip() == prompt_hash(SYSTEM)
