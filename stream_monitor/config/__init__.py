"""The settings: sections, durations, secrets, environment variables, and the settings that a log recorded."""
