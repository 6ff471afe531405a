"""The CUSUM of all measures at once, with its thresholds."""
