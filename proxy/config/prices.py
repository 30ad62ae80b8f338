"""The prices of the configured models."""

from decimal import Decimal

from proxy.config.schema import PriceTable, Settings
from proxy.errors import ConfigError
from proxy.pricing.prices import Price, per_mtok, published_price


def resolve_prices(settings: Settings) -> dict[str, Price]:
    """Return the price of every large model. A price in the config replaces the published one.

    Raises:
        ConfigError: a model has neither.
    """
    prices: dict[str, Price] = {}
    problems = []
    for model in settings.large_models.values():
        table = settings.prices.get(model.name)
        price = published_price(model.id) if table is None else _from_table(table)
        if price is None:
            problems.append(
                f'prices."{model.name}": no price is known for this model; add input_per_mtok and output_per_mtok '
                "(USD per million tokens; 0 if it is free)"
            )
        else:
            prices[model.name] = price
    if problems:
        raise ConfigError(problems)
    return prices


def _from_table(table: PriceTable) -> Price:
    def rate(usd: Decimal | None) -> int | None:
        return None if usd is None else per_mtok(usd)

    return Price(
        input=per_mtok(table.input_per_mtok),
        output=per_mtok(table.output_per_mtok),
        cached_input=rate(table.cached_input_per_mtok),
        cache_write=rate(table.cache_write_per_mtok),
        audio_input=rate(table.audio_input_per_mtok),
        audio_output=rate(table.audio_output_per_mtok),
        request=per_mtok(table.per_request),
    )


def small_price(settings: Settings) -> Price:
    """Return the price of the small model. It is free unless the config has a price."""
    price = settings.small.price
    return Price(input=per_mtok(price.input_per_mtok), output=per_mtok(price.output_per_mtok))
