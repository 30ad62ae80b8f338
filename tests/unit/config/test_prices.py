"""The prices of the configured models."""

from decimal import Decimal

import pytest

from proxy.config.prices import resolve_prices, small_price
from proxy.config.schema import Large, PriceTable, Settings, Small, SmallPrice
from proxy.errors import ConfigError


def test_config_price_replaces_published():
    """A price in the config replaces the published one."""
    published = resolve_prices(Settings())["gpt-4o-mini"]
    table = PriceTable(input_per_mtok=Decimal(99), output_per_mtok=Decimal("0.5"))
    price = resolve_prices(Settings(prices={"gpt-4o-mini": table}))["gpt-4o-mini"]
    assert published.source != "config"
    assert (price.source, price.input / published.input) == ("config", 99 / 0.15)


def test_configured_rates():
    """Audio, cache writes and a fee per call have keys of their own."""
    one, two, three = Decimal(1), Decimal(2), Decimal(3)
    table = PriceTable(
        input_per_mtok=one, output_per_mtok=one, cache_write_per_mtok=two, audio_input_per_mtok=two,
        audio_output_per_mtok=three, per_request=Decimal("0.000000001"),
    )  # fmt: skip
    price = resolve_prices(Settings(prices={"gpt-4o-mini": table}))["gpt-4o-mini"]
    assert (price.cache_write, price.audio_input, price.audio_output) == (2 * 10**9, 2 * 10**9, 3 * 10**9)
    assert price.request == 1


def test_missing_prices_are_refused():
    """Every model without a price is named."""
    with pytest.raises(ConfigError) as e:
        resolve_prices(Settings(large=Large(model="no-such-a", models=("no-such-b",))))
    assert [line.split(":")[0] for line in e.value.problems] == ['prices."no-such-a"', 'prices."no-such-b"']


def test_small_model_is_free():
    """The small model is free unless it has a price in the config."""
    assert (small_price(Settings()).input, small_price(Settings()).output) == (0, 0)
    priced = small_price(Settings(small=Small(price=SmallPrice(input_per_mtok=Decimal(1)))))
    assert priced.input > 0
    assert priced.output == 0
