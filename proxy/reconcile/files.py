"""Read a file that a vendor exported, or the saved answers of its API."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from proxy.reconcile import anthropic_reports, openai_reports
from proxy.reconcile.figures import ReportError
from proxy.reconcile.tables import decoded, read_table
from proxy.reconcile.usage import VendorReport

Provider = Literal["openai", "anthropic"]
MOST_BYTES = 512 * 2**20
_COLUMNS: dict[Provider, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "openai": (openai_reports.USAGE_COLUMNS, openai_reports.COST_COLUMNS),
    "anthropic": (anthropic_reports.USAGE_COLUMNS, anthropic_reports.COST_COLUMNS),
}
"""The columns that a file of usage, and one of costs, has at least."""


def read_file(provider: Provider, path: Path) -> VendorReport:
    """Read one file: CSV, or JSON of one page or a list of pages.

    Raises:
        ReportError: it is no report of this vendor. The message says what to do.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ReportError(
            f"{path.name}: it is larger than {MOST_BYTES >> 20} MiB; export daily sums by model"
        )
    text = decoded(path.read_bytes(), path.name)
    if text.lstrip()[:1] in ("{", "["):
        return read_pages(provider, decode_page(text, path.name), path.name)
    table = read_table(text, path.name)
    usage, costs = _COLUMNS[provider]
    if not any(set(columns) <= set(table.columns) for columns in (usage, costs)):
        raise ReportError(
            f"{path.name}: the columns are not those of a report by {provider}: it needs "
            f"{', '.join(usage)} for usage or {', '.join(costs)} for costs; "
            "check --provider, and export the usage by model and day"
        )
    if provider == "openai":
        return openai_reports.read(table.rows, comma=table.comma)
    return anthropic_reports.read(table.rows, comma=table.comma)


def decode_page(text: str, name: str) -> Any:
    """Decode JSON. Numbers with decimals keep all their digits.

    Raises:
        ReportError: it is not JSON.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError):
        raise ReportError(f"{name}: it is not JSON; fetch the report again") from None


def read_pages(provider: Provider, pages: Any, name: str) -> VendorReport:
    """Read one page of the API, or a list of pages.

    Raises:
        ReportError: it is no report of this vendor.
    """
    results = _results(pages if isinstance(pages, list) else [pages], name)
    return openai_reports.read(results) if provider == "openai" else anthropic_reports.read(results)


def _results(pages: list[Any], name: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    for page in pages:
        buckets = page.get("data") if isinstance(page, Mapping) else None
        if not isinstance(buckets, list):
            raise ReportError(f"{name}: it has no list `data`; save the whole answers of the API")
        for number, bucket in enumerate(buckets, 1):
            where = f"{name}, bucket {number}"
            results = bucket.get("results") if isinstance(bucket, Mapping) else None
            if not isinstance(results, list) or not all(isinstance(result, Mapping) for result in results):
                raise ReportError(f"{where}: it has no list `results`; save the whole answers of the API")
            times = {
                k: bucket[k] for k in ("start_time", "end_time", "starting_at", "ending_at") if k in bucket
            }
            for result in results:
                yield where, {**result, **times}


def merged(reports: list[VendorReport]) -> VendorReport:
    """Return several reports as one, for example usage and costs."""
    return VendorReport(
        usage=tuple(line for report in reports for line in report.usage),
        costs=tuple(line for report in reports for line in report.costs),
        shifted=any(report.shifted for report in reports),
    )
