"""`stream-monitor verify`: recompute from the input what the output must be, and demand exactly that.

`truth` is plain Python, one event at a time, and shares nothing with the stages but the contracts' decoder; `told` is
what the topics say; `compare` holds one against the other.
"""
