"""Answers of what the topics hold, as data, for the command line and programs."""
