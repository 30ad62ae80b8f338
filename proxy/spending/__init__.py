"""The money of one request: the budgets that pay for it, and its paid calls."""
