"""What FinSight does, one use case a file."""
