"""What runs for ever: the long-lived Ray actors."""
