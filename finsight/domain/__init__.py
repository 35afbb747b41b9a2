"""What things mean: no I/O, no vendors, no Ray."""
