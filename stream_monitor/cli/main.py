"""The command line: `stream-monitor --help` teaches."""

from __future__ import annotations

import errno
import json
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stream_monitor.cli import baseline, notify, rejudge, remarks, rollout, tail
from stream_monitor.cli.evaluate import evaluate
from stream_monitor.cli.failure import CommandLine, fail
from stream_monitor.cli.options import Config, millis, output_option, time_option
from stream_monitor.cli.replay import replay
from stream_monitor.cli.status import status
from stream_monitor.config.settings import load
from stream_monitor.errors import BrokerError, NothingUsable, StreamMonitorError
from stream_monitor.telemetry.log_output import configure_command
from stream_monitor.terminal import Screen, finish, prepare
from stream_monitor.version import __version__

app = typer.Typer(
    name="stream-monitor",
    cls=CommandLine,
    help="Streaming drift detection on Kafka: prediction events, labels and feedback in; alerts and metrics out.",
    epilog="Try `stream-monitor demo` first: a year of real flights, nothing to install or configure.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(no_args_is_help=True, help="Make and check the app's topics.")
alerts_app = typer.Typer(no_args_is_help=True, help="Read alerts from their topic, and say something of them.")
metrics_app = typer.Typer(no_args_is_help=True, help="Read metrics from their topic.")
app.add_typer(topics_app, name="topics")
app.add_typer(baseline.app, name="baseline")
app.add_typer(rollout.app, name="rollout")
app.add_typer(notify.app, name="notify")
app.add_typer(alerts_app, name="alerts")
app.add_typer(metrics_app, name="metrics")

SHOWN = 20
"""Differences that `verify` prints."""
FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
"""The disk, or what of it is ours."""


class Role(StrEnum):
    """Which stages a command runs."""

    describe = "describe"
    judge = "judge"
    rekey = "rekey"
    all = "all"


def main() -> None:
    """Entry point: our own errors are messages, not tracebacks."""
    prepare()
    try:
        app()
    except StreamMonitorError as error:
        fail(str(error), exit_code(error))
    except OSError as error:
        if error.filename is None and error.errno not in FULL:  # then it is not about a file of the user's
            raise
        fail(str(error))
    except MemoryError:
        fail("out of memory: this machine, a cgroup or ulimit -v gives less than the command needs")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        finish()


def exit_code(error: StreamMonitorError) -> int:
    """3: nothing of what was read could be used; 1: the broker; 2: the command or its settings."""
    if isinstance(error, NothingUsable):
        return 3
    return 1 if isinstance(error, BrokerError) else 2


def _version(wanted: bool) -> None:
    if wanted:
        Screen().line(__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Shared options."""
    configure_command()


@app.command()
def run(
    config: Config = None,
    role: Annotated[Role, typer.Option(help="Which stages to run here.")] = Role.all,
    workers: Annotated[int, typer.Option(min=1, help="Processes of each stage.")] = 1,
    embedded: Annotated[
        bool, typer.Option(help="Bring a small broker along, to try things out; keeps little.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve the page, too; see `stream-monitor dashboard`.")
    ] = False,
    accept_repartition: Annotated[
        bool,
        typer.Option(
            "--accept-repartition",
            help="Go on after the input topics got more partitions: labels miss predictions whose ids have moved.",
        ),
    ] = False,
    accept_new_topics: Annotated[
        bool,
        typer.Option(
            "--accept-new-topics",
            help="Go on after a topic was deleted and made anew: read it from its beginning. For one start only.",
        ),
    ] = False,
    skip_record: Annotated[
        list[str] | None,
        typer.Option(
            "--skip-record",
            metavar="TOPIC/PARTITION/OFFSET",
            help="Leave out a record of our own topics that is not ours and ends a worker; it is recorded for later "
            "starts. Can be given several times.",
        ),
    ] = None,
) -> None:
    """Read events from Kafka and publish alerts and metrics, exactly once.

    Needs no settings: missing topics are made, models and features are learned from the stream, the first 10,000
    values of each measure become its baseline.

    Settings, ports and topics are checked before a group is joined. A worker that is killed, crashes or loses Kafka is
    started again, up to five times in a row; one that cannot go on ends all with its reason and exit code 1. SIGTERM or
    Ctrl-C: a last commit and exit code 0; a second one ends at once.

    Example: `STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS=broker:9092 stream-monitor run`
    """
    from stream_monitor.service.run import run
    from stream_monitor.service.supervisor import leave

    chosen = None if role is Role.all else role.value
    consent = accept_repartition, accept_new_topics, skip_record or []
    leave(run(load(config), chosen, workers, embedded, *consent, dashboard=dashboard))


@app.command()
def dashboard(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="The setting dashboard.host; beyond loopback see there.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The setting dashboard.port; 0: any.")] = None,
) -> None:
    """Serve the page: all models, every measure, alerts and incidents, what was refused, and what can be left out.

    It reads the output topics from the outside: it joins no group and cannot disturb a worker. It listens on this
    machine only. To look at it from another one, tunnel (`ssh -L 8080:localhost:8080 host`), or set `http.token` and
    TLS. What it has read lies in `dashboard.path`, or in a temporary file: then it reads the last day again at a start.

    Example: `stream-monitor dashboard --port 8080`
    """
    from stream_monitor.commands.dashboard import run as serve

    serve(load(config), host, port, Screen(stderr=True))


@app.command()
def demo(
    report: Annotated[Path | None, output_option("Write what was found when as JSON.")] = None,
    speed: Annotated[float, typer.Option(min=0, help="Days of flights a second; 0: as fast as it goes.")] = 0,
    page: Annotated[bool, typer.Option("--dashboard/--no-dashboard", help="Serve the page while it runs.")] = True,
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--no-stay", help="Keep the page after the year, until Ctrl-C; default: on a terminal."),
    ] = None,
    feed: Annotated[
        bool,
        typer.Option("--feed", help="Only send the year, without canaries, to the input topics of running workers."),
    ] = False,
    config: Config = None,
) -> None:
    """A year of real flights through the whole product, on an embedded broker.

    A model predicts which flights will be late. From 1 July on a feed sends distances in kilometres: watch it be found,
    here and on the page whose address is printed first. In November two versions come as canaries, and the flights are
    drawn by the weights that the judge publishes: one version is promoted, the other one is rolled back.
    """
    if feed:
        from stream_monitor.demo.feed import feed as send

        send(load(config), speed, Screen())
        return
    from stream_monitor.demo.show import show

    raise typer.Exit(show(report, speed, page, stay))


@app.command()
def check(config: Config = None) -> None:
    """Print the settings in force, and everything that is wrong with file, broker and topics, in one go."""
    from stream_monitor.service.check import check

    settings = load(config)
    resolved, problems, notes = check(settings)
    Screen().data(resolved)
    err = Screen(stderr=True)
    for note in notes:
        err.note(note)
    for problem in problems:
        err.problem(problem)
    if not problems:
        err.fine("settings, broker and topics are fine")
    raise typer.Exit(1 if problems else 0)


@app.command()
def verify(
    config: Config = None,
    settled: Annotated[
        bool, typer.Option("--settled", help="Producers have stopped and all is quiet: open windows must be right too.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Print every difference, not the first 20.")] = False,
) -> None:
    """Recompute an app's output from its input, and demand exactly that.

    Reads the input topics up to the offsets that the workers have committed, counts and joins every event again in
    plain Python, and holds profiles, windows, dead letters and alerts against it: nothing missing, extra or twice.
    Needs the whole input still on its topics, and memory for every prediction of it. Exits with 1 if anything differs,
    or if no judge has read the profiles, so that windows could not be compared.
    """
    from stream_monitor.verify.run import verify as run

    out, err = Screen(), Screen(stderr=True)
    with err.progress("reading", None, "share", brief=True) as bar:
        report = run(load(config), settled, bar.update)
    counts = ", ".join(f"{count:,} {role}" for role, count in report.events.items()) or "no events"
    out.line(f"{counts}: {report.cells:,} cells, {report.windows:,} windows, {report.alerts:,} alert records")
    if report.unread:
        out.line(f"{report.unread:,} events are on the input topics that the app has not committed yet")
    if report.unjudged:
        out.line(
            f"the judge has not read {report.unjudged:,} records of `profiles` and does not go on, so windows were not "
            "compared: start a judge, and verify again"
        )
    for problem in report.problems if every else report.problems[:SHOWN]:
        err.problem(problem)
    if len(report.problems) > SHOWN and not every:
        err.line(f"and {len(report.problems) - SHOWN:,} more; --all prints them")
    if not report.problems and not report.unjudged:
        err.fine("the output is exactly what the input says")
    raise typer.Exit(1 if report.problems or report.unjudged else 0)


@app.command()
def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="prediction, label, feedback, observation, alert, metric, health, dead-letter, acknowledgement, mute, "
            "annotation, rollout-decision, notification, receipt or profile"
        ),
    ],
) -> None:
    """Print the JSON Schema of a record.

    Example: `stream-monitor schema alert > alert.schema.json`
    """
    from stream_monitor.events.schemas import CONTRACTS, json_schema
    from stream_monitor.profiles.records import profile_schema

    if name not in (*CONTRACTS, "profile"):
        raise StreamMonitorError(f"no record is called {name!r}; there are {', '.join(CONTRACTS)}, profile")
    Screen().data(json.dumps(profile_schema() if name == "profile" else json_schema(name), indent=2))


@app.command()
def report(
    html: Annotated[Path, output_option("The file.")],
    config: Config = None,
    since: Annotated[
        datetime | None, time_option("What Kafka got at or after this: 2026-11-01 (UTC), or 7d; default: all there is.")
    ] = None,
) -> None:
    """Write what the page shows into one file, which opens in any browser without a server or a network.

    It reads the output topics up to their ends and joins no group. For an e-mail, a ticket, or an archive.

    Example: `stream-monitor report --html week.html --since 7d`
    """
    from stream_monitor.commands.report import run

    run(load(config), html, millis(since), Screen(), Screen(stderr=True))


app.command()(status)
app.command()(rejudge.rejudge)
app.command()(replay)
app.command()(evaluate)


@topics_app.command("create")
def topics_create(config: Config = None) -> None:
    """Make the missing topics with the right configuration."""
    from stream_monitor.kafka.topics import create

    created = create(load(config))
    for topic in created or ["all topics exist"]:
        Screen().line(topic)


@topics_app.command("check")
def topics_check(config: Config = None) -> None:
    """Say what is wrong with the topics that exist."""
    from stream_monitor.kafka.topics import inspect

    report = inspect(load(config))
    for problem in report.problems:
        Screen(stderr=True).problem(problem)
    Screen().line(f"{len(report.partitions)} topics, {len(report.problems)} problem(s)")
    raise typer.Exit(1 if report.problems else 0)


alerts_app.command("tail")(tail.alerts)
alerts_app.command("explain")(rejudge.explain)
alerts_app.command("ack")(remarks.ack)
alerts_app.command("mute")(remarks.mute)
alerts_app.command("annotate")(remarks.annotate)


metrics_app.command("tail")(tail.metrics)
