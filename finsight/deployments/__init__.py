"""What answers requests: the Ray Serve deployments."""
