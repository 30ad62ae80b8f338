"""Alerts: conditions on the ledger and the tiers, and their delivery to webhooks and mail servers."""
