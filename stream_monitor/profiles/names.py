"""Names and times with a special meaning: all, others, never and the end."""

from __future__ import annotations

ALL_SEGMENTS = "all"


ALL_MODELS = "__all__"
"""The model of alerts about the whole app; the judge of the first partition publishes them."""


OTHER = "__other__"
"""The model or version of events that are only counted, because there are too many models or versions."""


NEVER = -(2**62)
"""The watermark of a partition without events; also "minus infinity" on the wire."""


END = 2**62
"""The watermark of a partition that has no further events (finite replay)."""
