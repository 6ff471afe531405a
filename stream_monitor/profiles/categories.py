"""The bounds on the categories that a delta counts by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

from stream_monitor.types import I64

NEW_CATEGORIES = 256
"""Most new categories of a measure that a pane counts by name, besides those of its baseline."""


UNKNOWN_CATEGORIES = 4_096
"""Most categories that a delta counts by name while its worker does not know those of the baseline."""


def keep_order(categories: Sequence[str], known: frozenset[str]) -> I64:
    """The order in which categories are kept if there are too many: known ones first, then by hash, smallest first.

    The k smallest hashes of a union are among the k smallest of each part that holds them. So bounded counts stay exact
    and mergeable, and order does not affect them (k minimum values, Beyer et al. 2007).
    """
    hashes = np.array([xxhash.xxh3_64_intdigest(category.encode()) for category in categories], np.uint64)
    new = np.array([category not in known for category in categories])
    return np.lexsort((hashes, new))
