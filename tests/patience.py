"""How long a test waits for what must come: a bound on a hang, which no machine at work is slow enough to reach."""

import time
from collections.abc import Callable

PATIENCE_S = 600.0


def until(condition: Callable[[], object], what: str = "what must come") -> None:
    """Wait for a condition of this process; a failure names what did not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE_S:.0f} s"
        time.sleep(0.01)
