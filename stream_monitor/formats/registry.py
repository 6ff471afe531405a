"""The input formats by name. A new one is a file, a line here, and its name in `FormatName` of the settings."""

from __future__ import annotations

from collections.abc import Mapping

from stream_monitor.formats.cloudevents import CLOUDEVENTS
from stream_monitor.formats.contract import Format
from stream_monitor.formats.json import JSON

FORMATS = {form.name: form for form in (JSON, CLOUDEVENTS)}


def format_of(names: Mapping[str, str], role: str) -> Format:
    """The format of a topic role, by the names in the settings; JSON where none is named."""
    return FORMATS[names.get(role, JSON.name)]
