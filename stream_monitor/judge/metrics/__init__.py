"""Metrics of windows, and performance windows with outcomes by the time of their predictions."""
