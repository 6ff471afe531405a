"""The life of an alert, what moved, and what it did to the error."""
