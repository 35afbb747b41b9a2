"""The world, one technology a file."""
