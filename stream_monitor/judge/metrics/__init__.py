"""The metrics of windows, and outcomes by the time of their prediction."""
