"""Names and times that stand for all, others, never and the end."""

from __future__ import annotations

ALL_SEGMENTS = "all"


ALL_MODELS = "__all__"
"""The model of alerts that are about the whole app; the judge of the first partition tells them."""


OTHER = "__other__"
"""The model, and the version, of events that are only counted because there are too many of these."""


NEVER = -(2**62)
"""The watermark of a partition that has seen nothing; also "minus infinity" on the wire."""


END = 2**62
"""The watermark of a partition that will never bring anything again (finite replay)."""
