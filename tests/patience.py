"""How long a test waits for what must come: a bound on a hang, which no machine at work is slow enough to reach."""

PATIENCE_S = 600.0
