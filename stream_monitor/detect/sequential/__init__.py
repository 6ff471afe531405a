"""Sequential detectors: they take one value, or one pane, after the other."""
