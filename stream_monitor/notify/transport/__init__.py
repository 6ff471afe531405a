"""The only place of `notify` that opens connections. Each request has ten seconds, and a thread waits for it."""
