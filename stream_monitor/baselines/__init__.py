"""Baselines: first, recent and pinned ones, and the sampled rows that are kept with them."""
