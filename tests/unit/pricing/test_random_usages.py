"""Reservations cover the bill, whatever the class, the tier and the day."""

from random import Random

import pytest

from tests.support.random_usages import models, trial


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_reservation_covers_the_bill(start):
    """What is reserved is never less than what is booked, and that is the bill, or more if the vendor leaves it open."""
    unsound = [found for seed in range(start, start + 100) if not (found := trial(Random(seed))).sound]
    assert unsound == []


def test_trials_cover_the_market():
    """The trials meet many models, and prices that change during a call, fast tiers and answers without a tier."""
    found = [trial(Random(seed)) for seed in range(600)]
    assert len(set(models())) > 300
    assert len({trial.model for trial in found}) > 100
    assert any(one.bills[0] != one.bills[1] for one in found)
    assert {None, "default", "priority", "flex", "batch"} <= {one.usage.tier for one in found}
    assert sum(one.exact for one in found) > 500
