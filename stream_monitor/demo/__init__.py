"""The demo: a year of flights from New York, a model that predicts lateness, and an incident to find."""
