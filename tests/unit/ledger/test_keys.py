"""Keys of clients, on both databases."""

from proxy.ledger import keys
from tests.support.ledger import run


def test_revoked_key_is_found(url):
    """Only the complete token finds its key. Revoking marks the key, and clients still need one."""

    async def work(engine):
        assert not await keys.any_keys(engine)
        new = await keys.create_key(engine, "ann")
        assert (await keys.find_key(engine, new.token)).name == "ann"
        for wrong in (
            "",
            "sk-cope-x",
            new.token[:-1] + ("a" if new.token[-1] != "a" else "b"),
            new.token + "a",
        ):
            assert await keys.find_key(engine, wrong) is None
        assert await keys.revoke_key(engine, new.id)
        assert not await keys.revoke_key(engine, new.id)
        assert (await keys.find_key(engine, new.token)).revoked_at is not None
        return await keys.any_keys(engine)

    assert run(url, work) is True
