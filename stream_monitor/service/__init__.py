"""A worker, from its start to its end, and what is checked before."""
