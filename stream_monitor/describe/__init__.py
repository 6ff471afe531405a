"""Describe, the first stage: from events to profiles. Pure: it takes bytes and positions and returns records."""
