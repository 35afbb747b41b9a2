"""Small real samples, and the local server that replays them as the venues answer."""
