"""Writes docs/reference/ from the code and the chart: `python docs/make_reference.py`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from prometheus_client import CollectorRegistry

import stream_monitor
from stream_monitor.cli.main import app
from stream_monitor.events.schemas import CONTRACTS, json_schema
from stream_monitor.telemetry.dashboard_metrics import DashboardTelemetry
from stream_monitor.telemetry.metrics import Telemetry
from stream_monitor.telemetry.notify_metrics import NotifyTelemetry

FOLDER = Path(__file__).with_name("reference")
CHART = Path(__file__).parents[1] / "deploy" / "chart"
MADE = "This page is made by `python docs/make_reference.py`.\n"


def commands() -> str:
    """Every command with its arguments and options, as `--help` prints them."""
    parts = ["# Commands\n", "`stream-monitor COMMAND --help` prints the same.\n", MADE]
    for name, command in leaves(typer.main.get_command(app)):
        parts += [f"\n## `stream-monitor {name}`\n", inspect.cleandoc(command.help or "") + "\n"]
        rows = [row_of(param) for param in command.params if param.name != "help"]
        if rows:
            parts += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def leaves(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "invoke_without_command", False):
            yield path + name, command
        if hasattr(command, "commands"):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


def row_of(param: Any) -> str:
    is_option = param.param_type_name == "option"
    name = ", ".join(f"`{opt}`" for opt in param.opts) if is_option else f"`{param.name.upper()}`"
    text = (param.help or "").replace("|", "\\|").strip()
    default = param.default
    if isinstance(default, int | float | str) and not isinstance(default, bool) and "default" not in text:
        text += f" Default: `{default}`."
    return f"| {name} | {text} |"


def records() -> str:
    """The fields of every record that people's programs write or read."""
    parts = ["# Records\n", "`stream-monitor schema NAME` prints the JSON Schema of each.\n", MADE]
    for name in CONTRACTS:
        schema = json_schema(name)
        top = schema["$ref"].rsplit("/", 1)[1]
        for title, struct in sorted(schema["$defs"].items(), key=lambda item: item[0] != top):
            level = "##" if title == top else "###"
            parts += [f"\n{level} {name if title == top else title}\n", struct.get("description", "") + "\n"]
            parts += ["| field | type | meaning |", "|---|---|---|"]
            needed = struct.get("required", [])
            for field, kind in struct["properties"].items():
                text = kind.get("description", "").replace("|", "\\|")
                parts.append(f"| `{field}`{'' if field in needed else ' (optional)'} | {type_of(kind)} | {text} |")
    return "\n".join(parts) + "\n"


def type_of(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        return kind["$ref"].rsplit("/", 1)[1]
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(type_of(one) for one in kind["anyOf"]))
    if "enum" in kind:
        return " or ".join(f"`{value}`" for value in kind["enum"])
    if kind.get("type") == "array":
        items = kind.get("items")
        if "prefixItems" in kind:
            return f"array of ({', '.join(map(type_of, kind['prefixItems']))})"
        return f"array of {type_of(items)}" if isinstance(items, dict) else "array"
    if kind.get("type") == "object" and isinstance(kind.get("additionalProperties"), dict):
        return f"object of {type_of(kind['additionalProperties'])}"
    return str(kind.get("type", "any"))


def metrics() -> str:
    """Every Prometheus metric of a worker."""
    worker, notify = CollectorRegistry(), CollectorRegistry()
    Telemetry(worker)
    NotifyTelemetry(notify)
    registries = [worker, notify, DashboardTelemetry(lambda: ()).registry]
    parts = [
        "# Metrics\n",
        "`/metrics` of a worker has them, that of `notify` those with its name, that of the page those of `dashboard` "
        "and of rollouts. Each also has the label `role`.\n",
        MADE,
    ]
    parts += ["| metric | type | meaning |", "|---|---|---|"]
    ours = (metric for registry in registries for metric in registry.collect() if metric.name.startswith("stream_"))
    for metric in {metric.name: metric for metric in ours}.values():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        parts.append(f"| `{name}` | {metric.type} | {metric.documentation} |")
    return "\n".join(parts) + "\n"


def api() -> str:
    """What `import stream_monitor` gives a program."""
    items = {name: getattr(stream_monitor, name) for name in stream_monitor.__all__}
    parts = ["# Python\n", inspect.cleandoc(stream_monitor.__doc__ or "") + "\n", MADE]
    for name, item in items.items():
        if inspect.isfunction(item):
            parts += [f"\n## `{name}`\n", f"```python\n{name}{inspect.signature(item)}\n```\n"]
            parts.append(inspect.cleandoc(item.__doc__ or "") + "\n")
    parts += ["\n## Types\n", "[Records](records.md) has their fields.\n", "| type | what it is |", "|---|---|"]
    for name, item in items.items():
        if inspect.isclass(item):
            parts.append(f"| `{name}` | {(item.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(parts) + "\n"


def chart() -> str:
    """Every value of the Helm chart that its schema describes, with the default of values.yaml."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = [
        "# Values of the chart\n",
        "`deploy/chart` refuses any other value. [deploy.md](../deploy.md) has examples.\n",
    ]
    parts += [MADE, "| value | default | meaning |", "|---|---|---|"]
    return "\n".join([*parts, *values_of(schema, defaults)]) + "\n"


def values_of(schema: dict[str, Any], defaults: Any, path: str = "") -> Iterator[str]:
    """A row for each described value."""
    for name, kind in schema["properties"].items():
        default = defaults.get(name) if isinstance(defaults, dict) else None
        shown = "" if default in (None, "", {}, []) or "properties" in kind else f"`{json.dumps(default)}`"
        if "description" in kind and name != "global":
            yield f"| `{path}{name}` | {shown} | {kind['description']} |"
        if "properties" in kind:
            yield from values_of(kind, default, f"{path}{name}.")


PAGES = {"commands.md": commands, "records.md": records, "metrics.md": metrics, "python.md": api, "chart.md": chart}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, make in PAGES.items():
        (FOLDER / file).write_text(make(), encoding="utf-8")
