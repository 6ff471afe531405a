"""Writes deploy/grafana/dashboards/ from the lists below: `python deploy/grafana/make_dashboards.py`.

What models do is not in Prometheus, for a thousand models of twenty measures are a hundred thousand series: the page
shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""The source of provisioning/datasources."""
WIDTH, HEIGHT = 8, 8
"""Of a panel; a row of the grid has 24 columns."""


@dataclass(frozen=True)
class Panel:
    """A chart: the expressions that it draws, each with the legend of its series."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def rate(metric: str, by: str, matcher: str = "") -> str:
    """The growth of a counter each second, by labels."""
    return f"sum by ({by}) (rate(stream_monitor_{metric}{matcher}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str, matcher: str = "") -> str:
    """A quantile of a histogram of seconds, by labels."""
    return f"histogram_quantile({q}, {rate(f'{metric}_seconds_bucket', f'le, {by}', matcher)})"


CHOSEN = '{role=~"$role",instance=~"$instance"}'
FLEET = (
    Panel("Rules that ring", "docs/runbooks.md has a section on each", "short",
          (('ALERTS{alertname=~"StreamMonitor.*",alertstate="firing",severity!="none"}', "{{alertname}} {{role}}"),)),
    Panel("Events", "Records read each second, by topic", "cps",
          ((rate("messages_total", "role, topic"), "{{role}} {{topic}}"),)),
    Panel("Lag", "Records that are not read yet", "short",
          (("sum by (role, topic) (stream_monitor_lag)", "{{role}} {{topic}}"),
           ("max by (role, topic) (stream_monitor_lag_max)", "{{role}} {{topic}}, the partition with the most"))),
    Panel("Time to a verdict", "From the record that closed a window to the commit of the window's record", "s",
          ((quantile(0.5, "detection", "role"), "half of the windows"),
           (quantile(0.99, "detection", "role"), "99 of 100"))),
    Panel("Event time behind now", "Of each partition of profiles; all models of a partition wait for it", "s",
          (("time() - max by (partition) (stream_monitor_watermark_ms) / 1000", "profiles/{{partition}}"),)),
    Panel("Alerts of models", "Records each hour, by severity and status", "short",
          (("sum by (severity, status) (increase(stream_monitor_alerts_total[1h]))", "{{severity}} {{status}}"),)),
    Panel("Dead letters", "Events that cannot be counted each second, by reason", "cps",
          ((rate("rejects_total", "reason"), "{{reason}}"),)),
    Panel("Late, duplicate, after idle", "Events each second", "cps",
          ((rate("late_total", "topic"), "late {{topic}}"), (rate("duplicates_total", "topic"), "duplicate {{topic}}"),
           (rate("after_idle_total", "role"), "after idle"))),
    Panel("Models and open alerts", "Of all judges", "short",
          (("sum(stream_monitor_models)", "models"), ("sum(stream_monitor_open_alerts)", "open alerts"))),
)  # fmt: skip
WORKERS = (
    Panel("Seconds since the last commit", "A worker that owns partitions commits every few seconds", "s",
          ((f"time() - stream_monitor_last_commit_timestamp_seconds{CHOSEN}", "{{role}} {{instance}}"),)),
    Panel("Commits", "99 of 100 take no longer", "s",
          ((quantile(0.99, "commit", "role, instance", CHOSEN), "{{role}} {{instance}}"),)),
    Panel("Work between two commits", "99 of 100 take no longer", "s",
          ((quantile(0.99, "step", "role, instance", CHOSEN), "{{role}} {{instance}}"),)),
    Panel("Partitions", "Owned, and of these those that wait until slower ones have caught up", "short",
          ((f"stream_monitor_partitions{CHOSEN}", "{{role}} {{instance}}"),
           (f"stream_monitor_paused_partitions{CHOSEN}", "{{role}} {{instance}} paused"))),
    Panel("Restored", "Share of a change log that is read while a worker restores", "percentunit",
          ((f"stream_monitor_restored{CHOSEN}", "{{role}} {{instance}}"),)),
    Panel("Aborts and restores", "Each hour", "short",
          ((f"increase(stream_monitor_aborts_total{CHOSEN}[1h])", "{{role}} {{instance}} aborts"),
           (f"increase(stream_monitor_restores_total{CHOSEN}[1h])", "{{role}} {{instance}} restores"))),
    Panel("Memory", "The largest that the process has had, and what judges hold of open panes", "bytes",
          ((f"stream_monitor_memory_bytes{CHOSEN}", "{{role}} {{instance}}"),
           (f"stream_monitor_open_panes_bytes{CHOSEN}", "{{role}} {{instance}} open panes"))),
    Panel("Rows that wait for a label", "And rows dropped each second, for there was no room", "short",
          ((f"stream_monitor_pending_rows{CHOSEN}", "{{instance}}"),
           (rate("pending_evicted_total", "instance", CHOSEN), "{{instance}} dropped"))),
    Panel("Published", "Bytes each second before compression", "Bps",
          ((rate("output_bytes_total", "role, instance", CHOSEN), "{{role}} {{instance}}"),)),
)  # fmt: skip


def chart(panel: Panel) -> timeseries.Panel:
    """A panel of Grafana."""
    built = timeseries.Panel().title(panel.title).description(panel.text).unit(panel.unit).datasource(SOURCE)
    built = built.span(WIDTH).height(HEIGHT).min(0)
    for name, (expression, legend) in zip("ABC", panel.queries, strict=False):
        built = built.with_target(prometheus.Dataquery().ref_id(name).expr(expression).legend_format(legend))
    return built


def variable(name: str) -> dashboard.QueryVariable:
    """A choice above the panels, by a label of all workers."""
    query = f"label_values(stream_monitor_build_info, {name})"
    built = dashboard.QueryVariable(name).datasource(SOURCE).query(query)
    return built.multi(True).include_all(True).all_value(".*")


def made(uid: str, title: str, panels: tuple[Panel, ...], variables: tuple[str, ...] = ()) -> str:
    """A dashboard as JSON."""
    built = dashboard.Dashboard(title).uid(uid).tags(["stream-monitor"]).refresh("30s").time("now-6h", "now")
    built = built.timezone("utc").readonly()
    for name in variables:
        built = built.with_variable(variable(name))
    for panel in panels:
        built = built.with_panel(chart(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


DASHBOARDS = {
    "fleet.json": made("stream-monitor-fleet", "stream_monitor: fleet", FLEET),
    "workers.json": made("stream-monitor-workers", "stream_monitor: workers", WORKERS, ("role", "instance")),
}

if __name__ == "__main__":
    for file, text in DASHBOARDS.items():
        (FOLDER / file).write_text(text, encoding="utf-8")
