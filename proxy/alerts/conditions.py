"""Which function checks which kind of alert."""

from datetime import datetime

from proxy.alerts import budgets, health, spend
from proxy.config.alerts import (
    AnyAlert,
    BudgetAlert,
    DriftAlert,
    ForecastAlert,
    SpikeAlert,
    TierDownAlert,
    UnsettledAlert,
)
from proxy.ledger.alerts import NewAlert
from proxy.service.state import AppState


async def check(state: AppState, alert: AnyAlert, at: datetime) -> list[NewAlert]:
    """Return the alerts that are to be raised at a time. They may have been raised before."""
    match alert:
        case BudgetAlert():
            return await budgets.used_fractions(state, alert, at)
        case ForecastAlert():
            return await budgets.forecasts(state, alert, at)
        case SpikeAlert():
            return await spend.spikes(state, alert, at)
        case UnsettledAlert():
            return await spend.unsettled(state, alert, at)
        case DriftAlert():
            return await health.drifts(state, alert, at)
        case TierDownAlert():
            return await health.tiers_down(state, alert, at)
