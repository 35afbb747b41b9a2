"""Exchanges and candle stores."""
