"""The worker processes of estimators end with the tests."""

import pytest

from proxy.cascade.confidence import shutdown


@pytest.fixture(scope="session", autouse=True)
def no_worker_left():
    yield
    shutdown()
