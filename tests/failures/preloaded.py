"""What the process imports, and compiles, that is forked for each worker."""

from __future__ import annotations

import tests.failures.worker  # noqa: F401
from stream_monitor.service.warm_up import warm_up

warm_up()
