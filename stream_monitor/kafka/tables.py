"""Topics that a loop reads whole and goes on following, beside the inputs of its stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from stream_monitor.config.settings import Settings
from stream_monitor.errors import FormatError
from stream_monitor.kafka.interface import Client

log = logging.getLogger(__name__)


class Tables:
    """Passes the records of each topic to a function of its own."""

    def __init__(self, settings: Settings, client: Client, functions: Mapping[str, Callable[[bytes], None]]) -> None:
        self._settings, self._client, self._functions = settings, client, dict(functions)

    def follow(self) -> None:
        """Process the new records. Tables affect only speed, so a record that is not ours is left out."""
        for role, process in self._functions.items():
            for record in self._client.table(role):
                try:
                    process(record.value)
                except FormatError as error:
                    where = f"{self._settings.topic(role)}/{record.partition} offset {record.offset}"
                    log.warning("%s holds a record that is not ours, which is left out: %s", where, error)
