"""Writes docs/settings.md from the settings model: `python docs/make_settings.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stream_monitor.config.durations import Duration, WindowSpec, format_duration
from stream_monitor.config.settings import Settings

HEAD = """# Settings

None are needed. A YAML file (`--config FILE`) holds sections; `STREAM_MONITOR__SECTION__KEY` in the environment
overrides it, for example `STREAM_MONITOR__TIME__PANE=5s`. Durations are written `500ms`, `10s`, `5m`, `6h`, `7d`.
Unknown keys are refused with the nearest known one named; `stream-monitor check` prints the settings in force.

    kafka:                       # TLS and SASL go to librdkafka as they are
      bootstrap_servers: broker:9093
      options:
        security.protocol: SASL_SSL
        sasl.mechanism: PLAIN
        sasl.username: app
        sasl.password: file:/run/secrets/kafka  # or STREAM_MONITOR__KAFKA__OPTIONS__SASL_PASSWORD in the environment

[security.md](security.md) says how secrets are given and kept.

This page is made by `python docs/make_settings.py`.
"""


def shown(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if Duration.__metadata__[1] in field.metadata:  # type: ignore[attr-defined]
        return format_duration(default)
    if isinstance(default, tuple) and default and isinstance(default[0], WindowSpec):
        return ", ".join(map(str, default))
    if (
        isinstance(default, tuple)
        and "Duration" not in str(field.annotation)
        and default
        and isinstance(default[0], int)
    ):
        return ", ".join(map(format_duration, default))
    return str(default)


def lines_of(section: type[BaseModel], prefix: str) -> list[str]:
    rows = [f"\n## {prefix or 'top level'}\n", (section.__doc__ or "").strip().splitlines()[0] + "\n"]
    rows += ["| key | default | meaning |", "|---|---|---|"]
    for name, field in section.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            rows.append(f"| `{name}` | `{shown(field)}` | {field.description or ''} |")
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += lines_of(field.annotation, f"{prefix}.{name}" if prefix else name)
    return rows


def page() -> str:
    return HEAD + "\n".join(lines_of(Settings, "")) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(page(), encoding="utf-8")
