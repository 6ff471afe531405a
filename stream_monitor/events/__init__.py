"""The wire contracts: what comes in, what goes out, and how bytes become columns."""
