"""The prices of the configured models, from the config or as published, at any time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil

from proxy.config.price_tables import LongRates, PriceTable, Rates, TierRates
from proxy.config.schema import LargeModel, Settings
from proxy.errors import ConfigError
from proxy.ids import now
from proxy.pricing.prices import Price, per_mtok
from proxy.pricing.published import price_changes, published_price
from proxy.pricing.tiers import with_bounds

LONGEST_LOOK = timedelta(days=1)
"""How long published prices are used before they are looked up again, even if no change is near."""
ROOM = timedelta(minutes=1)
"""A call may end this much later than its request's time limit: it is read on for a moment."""


class PriceBook(Mapping[str, Price]):
    """The price of every large model now. Prices that begin or end while the process runs are used from then on.

    A call reserves the highest price of the time until its end. So the book is read again before each change, too.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = now) -> None:
        """Read the prices.

        Raises:
            ConfigError: a model has no price.
        """
        self._settings, self._clock = settings, clock
        self._ahead = timedelta(seconds=settings.server.request_timeout_s) + ROOM
        self._prices: Mapping[str, Price] = {}
        self._until = clock()
        self._read()

    def __getitem__(self, name: str) -> Price:
        if self._clock() >= self._until:
            self._read()
        return self._prices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prices)

    def __len__(self) -> int:
        return len(self._prices)

    def _read(self) -> None:
        at, settings = self._clock(), self._settings
        self._prices = resolve_prices(settings, at, self._ahead)
        ends = [at + LONGEST_LOOK]
        for model in _published_models(settings):
            changes = price_changes(model.id, at, at + LONGEST_LOOK + self._ahead)
            ends += [time for change in changes for time in (change - self._ahead, change) if time > at]
        self._until = min(ends)


def resolve_prices(
    settings: Settings, at: datetime | None = None, ahead: timedelta = timedelta()
) -> dict[str, Price]:
    """Return the price of every large model. A price in the config replaces the published one.

    Args:
        settings: the settings.
        at: the time, or now.
        ahead: how long a call may run. Its reservation covers the prices that begin in this time.

    Raises:
        ConfigError: a model has neither.
    """
    at = at or now()
    prices: dict[str, Price] = {}
    problems = []
    for model in settings.large_models.values():
        found = _prices_of(settings, model, at, ahead)
        if found is None:
            problems.append(
                f'prices."{model.name}": no price is known for this model; add input_per_mtok and output_per_mtok '
                "(USD per million tokens; 0 if it is free)"
            )
        else:
            prices[model.name] = found
    if problems:
        raise ConfigError(problems)
    return prices


def _prices_of(settings: Settings, model: LargeModel, at: datetime, ahead: timedelta) -> Price | None:
    table = settings.prices.get(model.name)
    if table is not None:
        price, later = _from_table(table), []
    else:
        published = published_price(model.id, at)
        if published is None:
            return None
        changes = price_changes(model.id, at, at + ahead)
        price, later = published, [p for change in changes if (p := published_price(model.id, change))]
    upstream = settings.upstreams[model.upstream] if model.upstream else settings.large
    price = replace(price, usual_tier=upstream.service_tier, own_charge=upstream.reported_cost == "use")
    return with_bounds(price, later)


def _published_models(settings: Settings) -> list[LargeModel]:
    return [model for model in settings.large_models.values() if model.name not in settings.prices]


def _from_table(table: PriceTable) -> Price:
    fee = per_mtok(table.per_request)
    price = replace(_with_long(table, None), request=fee)
    tiers = ((name, replace(_with_long(rates, price), request=fee)) for name, rates in table.tiers.items())
    return replace(price, tiers=tuple(tiers))


def _with_long(rates: TierRates | PriceTable, listed: Price | None) -> Price:
    """Return the price list of a table. Rates that it lacks grow like those of the list price."""
    price = _list(rates, listed)
    if rates.long is None:
        return price
    return replace(price, long_above=rates.long.above_tokens, long=_list(rates.long, price))


def _list(rates: Rates | LongRates, like: Price | None) -> Price:
    def rate(usd: Decimal | None, name: str) -> int | None:
        if usd is not None:
            return per_mtok(usd)
        known = None if like is None else getattr(like, name)
        if known is None or like is None:
            return None
        is_output = name in ("audio_output", "image_output", "reasoning")
        before, after = (like.output, outputs) if is_output else (like.input, inputs)
        return ceil(known * Fraction(after, before)) if before else int(known)

    inputs, outputs = per_mtok(rates.input_per_mtok), per_mtok(rates.output_per_mtok)
    return Price(
        input=inputs,
        output=outputs,
        cached_input=rate(rates.cached_input_per_mtok, "cached_input"),
        cache_write=rate(rates.cache_write_per_mtok, "cache_write"),
        cache_write_1h=rate(rates.cache_write_1h_per_mtok, "cache_write_1h"),
        audio_input=rate(rates.audio_input_per_mtok, "audio_input"),
        audio_output=rate(rates.audio_output_per_mtok, "audio_output"),
        image_input=rate(rates.image_input_per_mtok, "image_input"),
        image_output=rate(rates.image_output_per_mtok, "image_output"),
        reasoning=rate(rates.reasoning_per_mtok, "reasoning"),
    )


def small_price(settings: Settings) -> Price:
    """Return the price of the small model. It is free unless the config has a price."""
    price = settings.small.price
    return Price(input=per_mtok(price.input_per_mtok), output=per_mtok(price.output_per_mtok))
