"""FinSight watches crypto markets and reads their news, on its user's own machines."""

__version__ = "0.1.0"
