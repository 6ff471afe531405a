"""Rollouts of a new version: may it have more traffic? Pure functions of counts and event time."""
