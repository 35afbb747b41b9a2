"""Where settings and cursors that must survive are kept."""
