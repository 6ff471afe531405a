"""How much the random tests try: a little in each run of the suite, more in `make long` and `make failures`."""

from __future__ import annotations

import os

from hypothesis import settings

EFFORT = int(os.environ.get("STREAM_MONITOR_TEST_EFFORT", "1"))
"""How many times as many examples a property tries."""


def examples(count: int) -> settings:
    """So many examples of a property, the same ones in each run."""
    return settings(max_examples=count * EFFORT, deadline=None, derandomize=True)
