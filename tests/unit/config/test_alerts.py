"""Alerts and their targets in the config: every problem in one line, and no secret in any."""

import pytest

from proxy.alerts.targets import target_secrets
from proxy.config.alerts import BudgetAlert, TierDownAlert
from proxy.config.loading import load
from proxy.errors import ConfigError

SMALL = '[small]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
HOOK = '[webhooks.hook]\nurl = "https://example.com/hush"\n'
MAIL = '[mail.post]\nhost = "mail.example.com"\nsender = "a@example.com"\nto = ["b@example.com"]\n'


def loaded(tmp_path, text, env=None):
    path = tmp_path / "cope.toml"
    path.write_text(SMALL + text)
    return load(path, env or {})


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as e:
        loaded(tmp_path, text)
    return e.value.problems


def test_kinds_have_their_own_keys(tmp_path):
    """`on` chooses the keys and defaults of a table."""
    text = '[[alerts]]\nname = "b"\non = "budget"\nat = [1]\ntargets = ["hook"]\n'
    text += '[[alerts]]\nname = "t"\non = "tier_down"\ntargets = ["post"]\nfor_s = 5\n'
    settings = loaded(tmp_path, text + HOOK + MAIL)
    assert settings.alerts == (
        BudgetAlert(name="b", at=(1.0,), targets=("hook",)),
        TierDownAlert(name="t", targets=("post",), for_s=5.0),
    )


def test_alerts_by_environment(tmp_path):
    """The list comes from one variable, in JSON or TOML."""
    for text in (
        '[{"name": "b", "on": "budget", "targets": ["hook"]}]',
        '[{name = "b", on = "budget", targets = ["hook"]}]',
    ):
        settings = loaded(
            tmp_path, "", {"COPE__ALERTS": text, "COPE__WEBHOOKS__hook__URL": "https://example.com/x"}
        )
        assert settings.alerts == (BudgetAlert(name="b", targets=("hook",)),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[alerts]\nname = "b"\n', "alerts: must be a list of tables, as in [[alerts]]"),
        (
            '[[alerts]]\nname = "b"\n',
            "alerts[0].on: must be one of budget, forecast, spike, unsettled, drift, tier_down",
        ),
        ('[[alerts]]\non = ["budget"]\n', "alerts[0].on: must be one of budget"),
        ('[[alerts]]\nname = "b"\non = "drift"\ntargets = ["hook"]\nat = [1]\n', "alerts[0].at: unknown key"),
        ('[[alerts]]\nname = "b"\non = "drift"\n', "alerts[0].targets: missing; add it"),
        ('[[alerts]]\nname = "b"\non = "drift"\ntargets = []\n', "alerts[0].targets: expected"),
        ('[[alerts]]\nname = "b"\non = "drift"\ntargets = ["x"]\n', "alerts[0].targets: 'x' is no target (none)"),
        ('[[alerts]]\nname = "b"\non = "budget"\ntargets = ["x"]\nat = [0.0]\n', "alerts[0].at: expected"),
        ('[[alerts]]\nname = "b"\non = "budget"\ntargets = ["x"]\nscopes = ["tribe"]\n', "alerts[0].scopes: "),
        ('[[alerts]]\nname = "b c"\non = "drift"\ntargets = ["x"]\n', "alerts[0].name: expected"),
        (2 * '[[alerts]]\nname = "b"\non = "drift"\ntargets = ["hook"]\n' + HOOK, "alerts[1].name: 'b' is the name of two"),
        ("[webhooks.hook]\n", "webhooks.hook.url: set either url or url_env"),
        (HOOK + 'url_env = "X"\n', "webhooks.hook.url: set either url or url_env"),
        (HOOK.replace("https", "file"), "webhooks.hook.url: it is not the URL of a web server"),
        (HOOK + 'shape = "teams"\n', "webhooks.hook.shape: "),
        (HOOK + MAIL.replace("post", "hook"), "mail.hook: it is also the name of a webhook"),
        (HOOK.replace("hook]", '"a b"]'), "webhooks: 'a b' is not a name"),
        (MAIL.replace("a@", "a\\r\\nBcc: c@"), "mail.post.sender: 'a\\r\\nBcc: c@example.com' is not an address"),
        (MAIL.replace('"b@example.com"', '"b, c@example.com"'), "mail.post.to: 'b, c@example.com' is not an address"),
        (MAIL + 'username = "u"\n', "mail.post: username and password_env belong together"),
        (
            MAIL + 'username = "u"\npassword_env = "P"\nsecurity = "none"\n',
            'mail.post.security: "none" would send the password in clear',
        ),
    ],
)  # fmt: skip
def test_problems(tmp_path, text, found):
    """Each mistake is one line with its key. It does not show the URL."""
    lines = problems(tmp_path, text)
    assert len(lines) == 1
    assert lines[0].startswith(found)
    assert "hush" not in lines[0]


def test_secrets_are_needed(tmp_path):
    """A variable that a target names has to be set to something usable. Its value is in no message."""
    text = (
        '[webhooks.hook]\nurl_env = "URL"\nsecret_env = "SECRET"\n'
        + MAIL
        + 'username = "u"\npassword_env = "P"\n'
    )
    settings = loaded(tmp_path, text)
    with pytest.raises(ConfigError) as e:
        target_secrets(settings, {"SECRET": " "})
    assert [p.partition(":")[0] for p in e.value.problems] == [
        "webhooks.hook.url_env",
        "webhooks.hook.secret_env",
        "mail.post.password_env",
    ]
    env = {"URL": "https://example.com/hush", "SECRET": "whsec_hush!", "P": "hush"}
    with pytest.raises(ConfigError) as e:
        target_secrets(settings, env)
    assert "base64" in "".join(e.value.problems)
    assert "hush" not in "".join(e.value.problems)
    assert target_secrets(settings, env | {"SECRET": "hush"})["P"] == "hush"
