"""The prices in the config. See `schema` for how the docstrings are used."""

from decimal import Decimal

from proxy.config.section import Positive, Section


class Rates(Section, frozen=True, kw_only=True):
    """The rates of one price list, in USD per million tokens."""

    input_per_mtok: Decimal
    """USD per million prompt tokens."""
    output_per_mtok: Decimal
    """USD per million completion tokens."""
    cached_input_per_mtok: Decimal | None = None
    """USD per million prompt tokens that the upstream has in its cache. Unset: as `input_per_mtok`."""
    cache_write_per_mtok: Decimal | None = None
    """USD per million prompt tokens that the upstream writes into its cache. Unset: unknown, so a budget refuses requests
    for cache writes, and reported ones are recorded at twice the input."""
    cache_write_1h_per_mtok: Decimal | None = None
    """USD per million prompt tokens that it keeps in its cache for an hour. Unset: unknown, as above."""
    audio_input_per_mtok: Decimal | None = None
    """USD per million spoken prompt tokens. Unset: unknown, so a budget refuses audio, and without a budget audio is
    recorded at the highest published price (40 USD)."""
    audio_output_per_mtok: Decimal | None = None
    """USD per million spoken completion tokens. Unset: unknown, as above (80 USD)."""
    image_input_per_mtok: Decimal | None = None
    """USD per million prompt tokens of images. Unset: as `input_per_mtok`."""
    image_output_per_mtok: Decimal | None = None
    """USD per million completion tokens of images. Unset: as `output_per_mtok`."""
    reasoning_per_mtok: Decimal | None = None
    """USD per million completion tokens of hidden reasoning. Unset: as `output_per_mtok`."""


class LongRates(Rates, frozen=True, kw_only=True):
    """The rates of all tokens of a call with a long prompt. Unset rates grow like input or output."""

    above_tokens: Positive
    """Longest prompt, in tokens, that these rates do not apply to."""


class TierRates(Rates, frozen=True, kw_only=True):
    """The rates of one service tier. Unset rates grow like input or output."""

    long: LongRates | None = None


class PriceTable(Rates, frozen=True, kw_only=True):
    """The price of MODEL, in USD per million tokens. It replaces the price of the genai-prices package."""

    long: LongRates | None = None
    tiers: dict[str, TierRates] = {}  # noqa: RUF012  (msgspec copies it)
    """The rates of service tiers by their names in the answers, such as `flex`, `priority` and `batch`."""
    per_request: Decimal = Decimal(0)
    """USD per call, beside the tokens."""
