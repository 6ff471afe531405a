"""Profiles to verdicts: panes close in event time, windows meet their baselines, findings become alerts. Pure."""
