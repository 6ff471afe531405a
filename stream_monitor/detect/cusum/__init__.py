"""The CUSUMs of all measures, as rows of one bank, with their thresholds."""
