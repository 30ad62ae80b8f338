"""Whether the spend of a day is unusually high beside the days before it. All amounts are integers."""

from collections.abc import Sequence


def spike(
    today: int, earlier: Sequence[int], *, factor_milli: int, least_days: int, least: int
) -> int | None:
    """Return the median of the days before if today's spend is a spike, else `None`.

    The median is robust: one expensive day among them does not hide the next one. Days without spend do not count, so
    that a service which rests at weekends is compared with its working days.

    Args:
        today: the spend of the day so far.
        earlier: the spend of each day before.
        factor_milli: how many thousandths of the median a spike exceeds.
        least_days: the fewest days with spend. With fewer, nothing is a spike.
        least: the least difference between today and the median.
    """
    spent = sorted(amount for amount in earlier if amount > 0)
    if not spent or len(spent) < least_days:
        return None
    middle = len(spent) // 2
    median = spent[middle] if len(spent) % 2 else (spent[middle - 1] + spent[middle]) // 2
    return median if 1000 * today > factor_milli * median and today - median >= least else None
