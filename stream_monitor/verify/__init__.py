"""`stream-monitor verify`: recompute from the input what the output must be, and demand exactly that.

`expected` is plain Python, one event at a time; it shares with the stages only the contracts' decoder. `published`
reads the topics. `compare` compares the two.
"""
