"""Backtests that were kept."""
