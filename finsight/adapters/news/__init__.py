"""News sources and article stores."""
