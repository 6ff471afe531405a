"""How a command ends that cannot do what it was asked: a line or two on standard error, and an exit code."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from stream_monitor.terminal import Screen

USAGE = next(kind for kind in reversed(typer.BadParameter.__mro__) if "format_message" in vars(kind))
"""The base of what is wrong with arguments; where it lives depends on typer's version."""


class CommandLine(TyperGroup):
    """The commands; what is wrong with their arguments is said like every other error."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and exit where it stands alone."""
        alone = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        if not alone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except typer.Abort:
            fail("aborted", 1)
        except Exception as error:
            if not isinstance(error, USAGE):
                raise
            _fail_of_use(error)
        sys.exit(code if isinstance(code, int) else 0)


def _fail_of_use(error: Any) -> NoReturn:
    if type(error).__name__ != "NoArgsIsHelpError":  # which has printed the help
        err, context = Screen(stderr=True), getattr(error, "ctx", None)
        if context is not None:
            err.prose(f"{context.get_usage().strip()}; `{context.command_path} --help` tells more")
        err.error(error.format_message())
    sys.exit(error.exit_code)


def fail(why: str, code: int = 2) -> NoReturn:
    """Say why, and end."""
    Screen(stderr=True).error(why)
    sys.exit(code)
