"""Window tests: they compare a window with a baseline."""
