"""`cope-proxy prices`: the prices of the configured models and their sources."""

from datetime import date
from importlib import metadata

import click
from rich.table import Table

from proxy.cli.options import config_option, console, settings_of
from proxy.pricing.money import format_usd
from proxy.pricing.published import published_on, published_price


@click.group()
def prices() -> None:
    """The prices of new calls. Recorded calls keep their prices."""


@prices.command("list")
@config_option
def prices_list(config: str | None) -> None:
    """List the prices in USD per million tokens."""
    from proxy.config.prices import resolve_prices  # noqa: PLC0415

    table = Table("model", "input", "cached input", "cache write", "output", "tiers", "source", "as of")
    settings = settings_of(config)
    for model, price in resolve_prices(settings).items():
        cached, written = (
            "" if rate is None else format_usd(rate) for rate in (price.cached_input, price.cache_write)
        )
        tiers = ", ".join(
            f"{name} {format_usd(listed.input)}/{format_usd(listed.output)}" for name, listed in price.tiers
        )
        published = price.source != "config"
        as_of = (
            f"{published_on(settings.large_models[model].id) or '?'} (genai-prices {metadata.version('genai-prices')})"
            if published
            else ""
        )
        money = format_usd(price.input), cached, written, format_usd(price.output)
        table.add_row(model, *money, tiers, price.source, as_of)
    console().print(table)


@prices.command("check")
@config_option
@click.option(
    "--max-age",
    "days",
    type=click.IntRange(1),
    default=180,
    show_default=True,
    help="Highest age of a price in days.",
)
def prices_check(config: str | None, days: int) -> None:
    """Compare the config with the published prices. Exit with 1 if a price differs or is old."""
    from proxy.config.prices import resolve_prices  # noqa: PLC0415

    problems = 0
    settings = settings_of(config)
    for model, price in resolve_prices(settings).items():
        model_id = settings.large_models[model].id
        published, checked = published_price(model_id), published_on(model_id)
        age = None if checked is None else (date.today() - checked).days  # noqa: DTZ011  (one day does not matter)
        if published is None:
            verdict = "ok    only the config has a price"
        elif (price.input, price.output) != (published.input, published.output):
            problems += 1
            verdict = (
                f"DIFF  {format_usd(price.input)}/{format_usd(price.output)} in the config, "
                f"{format_usd(published.input)}/{format_usd(published.output)} published"
            )
        elif price.source != "config" and age is not None and age > days:
            problems += 1
            verdict = (
                f"OLD   last checked {age} days ago; update genai-prices or put the price into the config"
            )
        else:
            verdict = "ok    as published" + ("" if age is None else f", last checked {age} days ago")
        click.echo(f"{verdict}: {model}")
    if problems:
        raise SystemExit(1)
