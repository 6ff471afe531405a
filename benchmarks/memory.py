"""Peak resident memory of this process; `ru_maxrss` would be the parent's after a fork."""

from __future__ import annotations

from pathlib import Path


def peak_rss_mb() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
