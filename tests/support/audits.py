"""Audits in a test: the rows that a proxy has stored."""

from tests.support.wait import wait_until

USAGE = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}  # 0.00125 USD
WARNING = "fewer than the expected 90 %"


def rows(proxy, count):
    return wait_until(
        lambda: (
            (found := proxy.rows("SELECT * FROM audits ORDER BY created_at"))
            and len(found) == count
            and found
        ),
        f"{count} audits",
    )
