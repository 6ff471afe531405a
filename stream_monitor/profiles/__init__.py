"""The contract of the two stages: deltas, measures, bins, and the records of `profiles` and `baselines`."""
