"""What learns: jobs that end with a model."""
