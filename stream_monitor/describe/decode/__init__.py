"""From the bytes of events to columns."""
