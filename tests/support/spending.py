"""Requests that go straight to the large model, at a known price."""

import openai
import pytest

from tests.support.config import LARGE_MODEL

ASK = [{"role": "user", "content": "word " * 190}]  # 950 bytes, so at most some 1040 tokens
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}  # 0.0035 USD
ADMIN = {"Authorization": "Bearer admin-secret"}
ADMIN_ENV = {"COPE_ADMIN_KEY": "admin-secret"}
# Nothing is to be waited for where one request follows another.
SOON = {"wait_s": 0}


def ask(proxy, key="anything", headers=None, **extra):
    given = {"model": f"direct/{LARGE_MODEL}", "messages": ASK, "max_tokens": 100, **extra}
    return proxy.client(key).chat.completions.create(
        extra_headers={"X-COPE-On-Budget": "fail", **(headers or {})}, **given
    )


def refused(proxy, *args, **kwargs):
    with pytest.raises(openai.APIStatusError) as e:
        ask(proxy, *args, **kwargs)
    return e.value.status_code, e.value.code
