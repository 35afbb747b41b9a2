"""What FinSight needs from the world, as Protocols."""
