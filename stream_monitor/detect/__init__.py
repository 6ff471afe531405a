"""Detection of change: window tests and sequential detectors. Both are pure: they know arrays and baselines."""
