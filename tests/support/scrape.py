"""Scrapes of /metrics, and the ledger's sums that they have to equal."""

from prometheus_client.parser import text_string_to_metric_families

NANO = 10**9


def families(proxy, **headers):
    """Return the metric families of one scrape."""
    answer = proxy.http().get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return list(text_string_to_metric_families(answer.text))


def scrape(proxy):
    """Return each sample's value by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families(proxy)
        for sample in family.samples
    }


def total(found, name, **labels):
    """Return the sum of the samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (sample, *given), value in found.items() if sample == name and wanted <= set(given))


def sums_of_metrics(found):
    """Return the totals that a scrape reports, in the units of the ledger."""
    return {
        "requests": total(found, "cope_requests_total"),
        "calls": total(found, "cope_calls_total"),
        "prompt": total(found, "cope_tokens_total", type="prompt"),
        "completion": total(found, "cope_tokens_total", type="completion"),
        "cost": round(NANO * total(found, "cope_cost_usd_total")),
        "baseline": round(NANO * total(found, "cope_baseline_usd_total")),
        "drawn": total(found, "cope_stage_total", event="drawn"),
        "accepted": total(found, "cope_stage_total", event="accepted"),
        "escalated": total(found, "cope_stage_total", event="escalated"),
        "unsettled": found["cope_unsettled_calls",],
    }


def sums_of_rows(tables):
    """Return the same totals of the ledger's rows."""
    requests, calls, stages = tables["requests"], tables["calls"], tables["stages"]
    return {
        "requests": len(requests),
        "calls": len(calls),
        "prompt": sum(c["prompt_tokens"] for c in calls),
        "completion": sum(c["completion_tokens"] for c in calls),
        "cost": sum(c["cost_nano"] for c in calls),
        "baseline": sum(r["baseline_nano"] or 0 for r in requests),
        "drawn": sum(s["drawn"] for s in stages),
        "accepted": sum(bool(s["accepted"]) for s in stages),
        "escalated": sum(not s["accepted"] for s in stages),
        "unsettled": sum(r["state"] == "unsettled" for r in tables["reservations"]),
    }


def read_sqlite(proxy):
    """Return the ledger's rows."""
    return {t: proxy.rows(f"SELECT * FROM {t}") for t in ("requests", "calls", "stages", "reservations")}
