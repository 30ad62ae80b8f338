"""How much the recent requests of a payer need."""

from proxy.ledger.demand import MEMORY_S, Demand


def stream(*, every, seconds, amount=100):
    """Return the demand of a steady stream of requests, and the time of the last one."""
    demand, at = Demand(0.0), 0.0
    for i in range(1, int(seconds / every) + 1):
        at = i * every
        demand.add(amount, at)
    return demand, at


def test_steady_stream():
    """A second needs what a second has used, from the first second on."""
    for seconds in (0.5, 1, 10):
        demand, at = stream(every=0.01, seconds=seconds)
        assert 9_500 < demand.amount(1, at) < 10_600
        assert demand.repeats(at)


def test_rare_requests():
    """A request a second does not repeat."""
    demand, at = stream(every=1, seconds=60)
    assert not demand.repeats(at)


def test_burst():
    """Some requests at once are worth five times as much a second, not more."""
    demand = Demand(0.0)
    for _ in range(10):
        demand.add(100, 0.0)
    assert demand.repeats(0.0)
    assert 5_000 < demand.amount(1, 0.0) < 5_600


def test_demand_fades():
    """Old demand counts for nothing, and neither does an old large request."""
    demand, at = stream(every=0.01, seconds=2)
    demand.add(10**9, at)
    later = at + 30 * MEMORY_S
    assert not demand.repeats(later)
    assert demand.amount(1, later) == 0
    demand.add(7, later)
    assert demand.largest() == 7
