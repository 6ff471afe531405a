"""The commands of notifications, as the command line shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_monitor.cli.options import Config
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen

app = typer.Typer(help="Tell people of incidents: by webhook, Slack, Teams, PagerDuty, Alertmanager or mail.")

Receiver = Annotated[str | None, typer.Option("--receiver", help="Only this receiver; default: all.")]


@app.callback(invoke_without_command=True)
def notify(context: typer.Context, config: Config = None) -> None:
    """Tell receivers of incidents: few messages, each once, with the reason first.

    It reads `alerts`, `decisions` and `remarks` from the outside, a consumer group a receiver, so it can slow no judge,
    and one slow receiver no other. What was not sent when it stopped is sent when it starts again.

    The settings `notify` say who is told of what. SIGTERM or Ctrl-C: it commits and ends.

    Example: `stream-monitor notify --config settings.yaml`
    """
    if context.invoked_subcommand is None:
        from stream_monitor.commands.notify import run

        raise typer.Exit(run(load(config)))


@app.command()
def test(
    receiver: Annotated[str | None, typer.Argument(help="Only this receiver; default: all.")] = None,
    config: Config = None,
) -> None:
    """Send a message that is marked as a test to each receiver, and print the answer and the time it took.

    Exits with 1 if one of them did not accept it.

    Example: `stream-monitor notify test oncall`
    """
    from stream_monitor.commands.notify_tools import try_receivers

    raise typer.Exit(0 if try_receivers(load(config), receiver, Screen()) else 1)


@app.command()
def preview(
    alert: Annotated[str, typer.Option("--alert", metavar="ID", help="An alert's id, or the beginning of it.")],
    receiver: Receiver = None,
    config: Config = None,
) -> None:
    """Print what a receiver would be sent about an alert, to the byte, and send nothing. Secrets are asterisks.

    Example: `stream-monitor notify preview --alert 3f9c02ab --receiver team`
    """
    from stream_monitor.commands.notify_tools import preview as run

    run(load(config), alert, receiver, Screen())


@app.command()
def history(
    receiver: Receiver = None,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the latest.")] = 100,
    config: Config = None,
) -> None:
    """List the messages that were sent or given up, the latest last.

    Example: `stream-monitor notify history --receiver team --last 20`
    """
    from stream_monitor.commands.notify_tools import history as run

    run(load(config), receiver, last, Screen())
