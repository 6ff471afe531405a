"""Alerts: their lifecycle, the attribution of their drift, and its error impact."""
