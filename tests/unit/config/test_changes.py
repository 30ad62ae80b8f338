"""The difference of two configs: each key, no secret, and the keys that need a restart."""

import pytest

from proxy.config.changes import changes, config_digest, needs_restart
from proxy.config.schema import Cascade, Database, Large, Server, Settings, Small, Upstream, Vllm


def small(**changed):
    """Return the settings of a small model that runs elsewhere."""
    return Small(**{"model": "m", "base_url": "http://10.0.0.5/v1", **changed})


def test_each_changed_key_is_named():
    """A table of a name that is new counts with all its keys. What is equal is left out."""
    old = Settings(small=small(), cascade=Cascade(samples=8))
    new = Settings(small=small(), cascade=Cascade(samples=4), upstreams={"az.eu": Upstream(models=("x",))})
    found = {change.key: (change.old, change.new) for change in changes(old, new)}
    assert found["cascade.samples"] == ("8", "4")
    assert found['upstreams."az.eu".models'] == ("(unset)", '["x"]')
    assert all(key.startswith(("cascade.samples", "upstreams.")) for key in found)
    assert changes(old, old) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Settings(database=Database(url="postgresql+asyncpg://u:pass-1@h/d")), Settings()),
        (Settings(small=small(base_url="http://u:pass-1@h/v1?key=pass-1")), Settings(small=small())),
        (Settings(small=small(base_url=("http://u:pass-1@h/v1", "http://x/?k=pass-1"))), Settings()),
        (Settings(large=Large(base_url="https://pass-1@h/v1")), Settings()),
        (Settings(small=Small(vllm=Vllm(env={"HF_TOKEN": "pass-1"}, args=("--k", "pass-1")))), Settings()),
    ],
)
def test_secrets_are_hidden(old, new):
    """Passwords in URLs and the variables of vLLM are in no line, whether they come or go."""
    for found in (changes(old, new), changes(new, old)):
        assert found
        assert "pass-1" not in str(found) + "".join(map(str, found))


def test_vllm_keeps_its_table():
    """With a vLLM of its own, the proxy cannot change the model either. With servers of others, it can."""
    own = Settings(small=Small(model="a", vllm=Vllm()))
    assert [
        line.partition(":")[0] for line in needs_restart(own, Settings(small=Small(model="b", vllm=Vllm())))
    ] == ["small.model"]
    changed = Settings(small=Small(model="a", vllm=Vllm(args=("--x",)), max_output_tokens=9))
    assert [line.partition(":")[0] for line in needs_restart(own, changed)] == ["small.vllm.args"]
    assert needs_restart(Settings(small=small()), Settings(small=small(model="b"))) == []
    assert needs_restart(Settings(small=small()), own)[0].startswith("small.vllm")


def test_digest_is_that_of_the_settings():
    """The same settings have the same digest. Another value has another one."""
    assert config_digest(Settings(server=Server(port=1))) == config_digest(Settings(server=Server(port=1)))
    assert config_digest(Settings(server=Server(port=1))) != config_digest(Settings(server=Server(port=2)))
