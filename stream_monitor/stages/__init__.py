"""The contract between stages and their drivers."""
