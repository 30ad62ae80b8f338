"""Money, prices and token limits: pure functions on small frozen structs."""
