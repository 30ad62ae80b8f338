"""Charts as SVG. A page shows them as images, so that nothing in them can run.

The colours follow the light or dark setting of the browser.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pygal
from pygal.style import Style

from proxy.pricing.money import NANO_PER_USD

SPENT, SAVED = "#3b6fd4", "#2f9e6e"
_HIDDEN = "transparent"
_LONGEST_LABEL = 32
_MOST_DAY_LABELS = 15
_BOTH_THEMES = """
{{ id }} text { fill: #333 !important; } {{ id }} .axis .line, {{ id }} .guide { stroke: #bbb !important; }
@media (prefers-color-scheme: dark) {
  {{ id }} text { fill: #ddd !important; } {{ id }} .axis .line, {{ id }} .guide { stroke: #555 !important; }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a waterfall: a label, and its begin and length in milliseconds."""

    label: str
    begin_ms: int
    length_ms: int


def money_by_day(days: Sequence[str], spent: Sequence[int], saved: Sequence[int]) -> bytes:
    """Draw stacked columns of nano-USD, one column a day."""
    chart = pygal.StackedBar(
        height=260,
        **{**_options(SPENT, SAVED), "show_minor_x_labels": False},
        x_labels_major_every=1 + len(days) // _MOST_DAY_LABELS,
    )
    chart.x_labels = [day[5:] for day in days]
    chart.value_formatter = _usd
    chart.add("spent", [amount / NANO_PER_USD for amount in spent])
    chart.add("saved", [max(0, amount) / NANO_PER_USD for amount in saved])
    return _svg(chart)


def money_by_group(groups: Sequence[str], spent: Sequence[int], saved: Sequence[int]) -> bytes:
    """Draw stacked bars of nano-USD, one bar a group."""
    chart = pygal.HorizontalStackedBar(height=90 + 34 * max(1, len(groups)), **_options(SPENT, SAVED))
    chart.x_labels = [_label(group) for group in reversed(groups)]
    chart.value_formatter = _usd
    chart.add("spent", [amount / NANO_PER_USD for amount in reversed(spent)])
    chart.add("saved", [max(0, amount) / NANO_PER_USD for amount in reversed(saved)])
    return _svg(chart)


def waterfall(bars: Sequence[Bar]) -> bytes:
    """Draw the calls of a request as bars over time, in the order of their begin from top to bottom."""
    chart = pygal.HorizontalStackedBar(
        height=60 + 26 * max(1, len(bars)), show_legend=False, **_options(_HIDDEN, SPENT)
    )
    chart.x_labels = [_label(bar.label) for bar in reversed(bars)]
    chart.value_formatter = lambda ms: f"{ms / 1000:.1f} s" if ms >= 10_000 else f"{ms:.0f} ms"
    chart.add("", [bar.begin_ms for bar in reversed(bars)])
    chart.add("", [max(1, bar.length_ms) for bar in reversed(bars)])
    return _svg(chart)


def _options(*colors: str) -> dict[str, object]:
    style = Style(
        background="transparent",
        plot_background="transparent",
        colors=colors,
        font_family="system-ui, sans-serif",
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=13,
    )
    css = ("file://style.css", "file://graph.css", f"inline:{_BOTH_THEMES}")
    return {
        "style": style, "css": css, "js": (), "width": 900, "legend_at_bottom": True, "legend_box_size": 12,
        "truncate_label": -1, "no_data_text": "nothing in this range", "margin": 8,
    }  # fmt: skip


def _svg(chart: pygal.graph.graph.Graph) -> bytes:
    return bytes(chart.render())


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def _label(text: str) -> str:
    """Return a label without the characters that XML forbids, cut to a length."""
    shown = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_LABEL])
    return shown if len(text) <= _LONGEST_LABEL else f"{shown[:-1]}…"
