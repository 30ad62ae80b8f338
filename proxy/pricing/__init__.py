"""Money, prices and token bounds: pure functions on small frozen structs."""
