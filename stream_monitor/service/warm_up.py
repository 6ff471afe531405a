"""Compile all kernels before the first event needs them.

On a machine that never ran this version numba takes some seconds, in which events would wait. Where its cache can be
written, later starts take a fraction of one. The container image runs the warm-up when it is built (deploy/Dockerfile).
"""

from __future__ import annotations

import logging
import resource
import time

import numpy as np

from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.file_replay import Replay
from stream_monitor.rollouts.guards import RATES, InputGuard
from stream_monitor.rollouts.plan import Guard
from stream_monitor.rollouts.strata import Arms, InputStratum

log = logging.getLogger(__name__)

_EVENT = b'{"id":"%d","model":"m%d","ts":%d,"features":{"x":%d.5,"y":"a"},"tags":{"t":"b"},"prediction":1}'
_SLOW_S = 2.0
LEAST_SPACE = 2_000_000_000
"""Bytes of address space. A worker of two cores maps 1.7 GB, mostly stacks of threads that it never touches."""


def require_space(least: int = LEAST_SPACE) -> None:
    """SettingsError where a limit of the address space would end the worker while it works."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least:
        raise SettingsError(
            f"the address space is limited to {limit / 1e9:.1f} GB (ulimit -v), a worker needs {least / 1e9:.0f} GB of "
            "it, for libraries and threads reserve more than they use: limit memory by a cgroup (systemd MemoryMax, "
            "docker --memory) instead"
        )


def warm_up() -> None:
    """Describe and judge some events of two models, before and after their edges are known, in windows that slide."""
    require_space()
    started = time.monotonic()
    sections = {
        "baseline": {"first": 100},
        "segments": [["t"]],
        "time": {"windows": ["1m/10s"]},
        "detection": {"input": ["cusum", "page_hinkley"]},
    }
    run = Replay(Settings.model_validate(sections), lambda output: None)
    first = 1_700_000_000_000
    for start in (first, first + 60_000):
        run.feed(("predictions", _EVENT % (at, at % 2, start + at * 100, at % 7)) for at in range(300))
    run.finish()
    _bet()
    spent = time.monotonic() - started
    if spent > _SLOW_S:
        log.info("compiled in %.1f s", spent)


def _bet() -> None:
    """Bet on two strata of a rollout."""
    guard = Guard(measure="null_answer", margin="10%")
    bets, arms = InputGuard.start(None), Arms(RATES, np.array([[9.0, 1.0]]), np.array([[8.0, 2.0]]))
    for weight in (0.5, None):
        bets.take(guard, InputStratum(0, 1, arms), weight)
    bets.said(1.0)
