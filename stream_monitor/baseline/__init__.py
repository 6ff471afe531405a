"""Baselines as files: made of events, shown to people, handed to the judges of an app."""
