"""A service a file: how a message looks there, and what its answer means. All of it is pure."""
