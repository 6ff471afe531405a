"""`stream-monitor rollout …`, as the command line shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_monitor.cli.options import AsJson, Config, Model
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen

if TYPE_CHECKING:
    from stream_monitor.events.rollouts import Action

app = typer.Typer(
    no_args_is_help=True, help="Replace a version of a model by another one, in steps: start, see, approve, stop."
)
Name = Annotated[str, typer.Argument(help="The name of the rollout.")]
By = Annotated[str, typer.Option(envvar="USER", help="Who orders it.")]
Reason = Annotated[str, typer.Option(help="For those who come after you; the decision shows it.")]


@app.command("start")
def start(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The rollout file; see docs/rollouts.md.")],
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, say its steps, order nothing.")] = False,
    by: By = "unknown",
    reason: Reason = "",
) -> None:
    """Start the rollout that a file describes, and print the decision of the judge.

    Decisions go to the topic `decisions`, with the weights that a router applies. A router of your own keeps the last
    number (`seq`) that it applied. The judge decides only what the file allows it to.

    Example: `stream-monitor rollout start fraud-42.yaml --reason "trained on June"`

    Exits with 2 when the judge refuses it.
    """
    from stream_monitor.commands.rollout import Person
    from stream_monitor.commands.rollout import start as order_start

    person = Person(by, reason)
    code = order_start(load(config), file, person, dry_run, Screen(), Screen(stderr=True))
    raise typer.Exit(code)


@app.command("status")
def status(
    name: Annotated[str | None, typer.Argument(help="One rollout; default: all that are not over.")] = None,
    config: Config = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show where rollouts stand: weights, the evidence of each guard, and what a pass or a rollback still needs.

    A bar is a bet. It is full when it is worth what the verdict needs. The evidence is that of the last decision or
    report.

    Exits with 1 when it was rolled back or aborted, and with 3 when it ended without a verdict.
    """
    from stream_monitor.commands.rollout import show

    raise typer.Exit(show(load(config), name, model, as_json, Screen()))


@app.command("list")
def list_(config: Config = None, as_json: AsJson = False) -> None:
    """List all rollouts, the latest first. Exits with 1 when there are none."""
    from stream_monitor.commands.rollout import list_rollouts

    raise typer.Exit(list_rollouts(load(config), as_json, Screen()))


@app.command("watch")
def watch(name: Name, config: Config = None, model: Model = None, as_json: AsJson = False) -> None:
    """Print the decisions about a rollout, those there are and those that come, until it is over.

    Exits with 1 when it was rolled back or aborted, and with 3 when it ended without a verdict.
    """
    from stream_monitor.commands.rollout import watch as follow

    raise typer.Exit(follow(load(config), name, model, as_json, Screen()))


@app.command("approve")
def approve(name: Name, config: Config = None, model: Model = None, by: By = "unknown", reason: Reason = "") -> None:
    """Approve what a rollout waits for: its start, the next step, or the promotion."""
    _order("approve", name, config, model, (by, reason))


@app.command("pause")
def pause(name: Name, config: Config = None, model: Model = None, by: By = "unknown", reason: Reason = "") -> None:
    """Keep the weights as they are; harm still rolls back."""
    _order("pause", name, config, model, (by, reason))


@app.command("resume")
def resume(name: Name, config: Config = None, model: Model = None, by: By = "unknown", reason: Reason = "") -> None:
    """Go on after a pause, or in spite of a reason to hold, until the next weight."""
    _order("resume", name, config, model, (by, reason))


@app.command("promote")
def promote(name: Name, config: Config = None, model: Model = None, by: By = "unknown", reason: Reason = "") -> None:
    """Promote the candidate now, whatever the evidence."""
    _order("promote", name, config, model, (by, reason))


@app.command("abort")
def abort(name: Name, config: Config = None, model: Model = None, by: By = "unknown", reason: Reason = "") -> None:
    """Stop a rollout; the primary gets all requests."""
    _order("abort", name, config, model, (by, reason))


def _order(action: Action, name: str, config: Path | None, model: str | None, person: tuple[str, str]) -> None:
    from stream_monitor.commands.rollout import Person, order

    raise typer.Exit(order(load(config), action, name, model, Person(*person), Screen(), Screen(stderr=True)))
