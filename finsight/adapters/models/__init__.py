"""Models that score and forecast, and where they are kept."""
