"""What the records of a topic hold: bytes and headers to events. The setting `topics.formats` chooses one per topic."""
