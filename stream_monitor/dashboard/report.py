"""A report: the page and its data in one file that opens without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import orjson

from stream_monitor.dashboard.facts import letters_view
from stream_monitor.dashboard.fleet import Fleet
from stream_monitor.dashboard.incidents import alert_view, incidents_view
from stream_monitor.dashboard.models import known_models, measure_view, model_view, performance_view
from stream_monitor.dashboard.reduce import reduction
from stream_monitor.dashboard.rollouts import rollout_view, rollouts_view
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import UnknownName, choose, sizes_of

STATIC = Path(__file__).with_name("static")
MODULES = (
    "format", "dom", "state", "charts", "parts", "alerts", "fleet", "measure", "model", "performance", "reduce",
    "rollouts", "service", "app",
)  # fmt: skip
"""In an order in which each module comes after those that it imports."""
MODELS, MEASURES, ALERTS = 50, 100, 200
"""What a report holds in full, at most."""

_IMPORT = re.compile(r"^import \{([^}]*)\} from '\./(\w+)\.js';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|function) (\w+))", re.MULTILINE)


def write_report(store: Snapshot, path: Path, title: str, span: int | None = None) -> dict[str, int]:
    """Write what the store holds; returns how much of what there is the report has, by kind.

    Args:
        store: the store.
        path: the file.
        title: of the page.
        span: ms that the views of models cover, back from the last window; None: as the page shows them.
    """
    data, counts = report_data(store, span)
    path.write_text(page_of(data, title), encoding="utf-8")
    return counts


def report_data(store: Snapshot, span: int | None = None) -> tuple[dict[str, Any], dict[str, int]]:
    """The answers of the API, by path, and how many models, measures and alerts they tell of."""
    data: dict[str, Any] = {"made": int(time.time() * 1000), "fleet": Fleet().view(store) | {"app_name": ""}}
    data["incidents"] = incidents_view(store) | {"may_write": False}
    data["dead-letters"] = letters_view(store, with_events=False)
    data["rollouts"] = {"rollouts": rollouts_view(store)[:ALERTS]}
    for one in data["rollouts"]["rollouts"]:
        path = f"rollouts/{one['model']}/{one['rollout']}"
        data[path] = rollout_view(store, one["model"], one["rollout"])
    counts = {"models": 0, "measures": 0, "alerts": 0}
    for model in known_models(store)[:MODELS]:
        counts["measures"] += _add_model(data, store, model, span)
        counts["models"] += 1
    for incident in data["incidents"]["incidents"]:
        for alert in incident["alerts"][: max(0, ALERTS - counts["alerts"])]:
            data[f"alerts/{alert['id']}"] = alert_view(store, alert["id"]) | {"may_write": False}
            counts["alerts"] += 1
    return data, counts


def _add_model(data: dict[str, Any], store: Snapshot, model: str, span: int | None) -> int:
    """Add the views of a model; returns the number of its measures."""
    try:
        choice = choose(store, model, span=span)
    except UnknownName:  # it has a health record, and its windows have expired
        return 0
    view = model_view(store, choice)
    data[f"models/{model}"] = view
    if sizes_of(store, model, performance=True):
        data[f"models/{model}/performance"] = performance_view(store, choose(store, model, span=span, performance=True))
    data[f"models/{model}/reduce"] = view | reduction(view)
    names = [measure["name"] for measure in view["measures"] if measure["kind"] != "rows"][:MEASURES]
    data[f"measures/{model}"] = {name: measure_view(store, choice, name) for name in names}
    return len(names)


def page_of(data: dict[str, Any], title: str) -> str:
    """The HTML of a report. Its policy allows its own script and style, and nothing else."""
    script, style = bundle(), (STATIC / "page.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    held = orjson.dumps(data).decode().replace("<", "\\u003c")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n<title>{escape(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>\n'
        f'<a class="skip" href="#main" id="skip">Skip to content</a>\n<header id="bar"></header>\n'
        f'<main id="main" tabindex="-1"></main>\n<script type="application/json" id="report">{held}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def bundle(modules: Iterable[str] = MODULES) -> str:
    """The modules as one: each is a function of its own, whose result are its exports."""
    parts = []
    for name in modules:
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        exports = [match.group(1) for match in _EXPORT.finditer(text)]
        text = _EXPORT.sub("", _IMPORT.sub(_as_constant, text))
        parts.append(f"const of_{name} = await (async () => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();")
    return "\n".join(parts)


def _as_constant(match: re.Match[str]) -> str:
    return f"const {{{match.group(1).replace(' as ', ': ')}}} = of_{match.group(2)};"
