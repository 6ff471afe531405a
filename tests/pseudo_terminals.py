"""Commands in a real pseudo-terminal, and what may reach one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import unicodedata
from collections.abc import Callable, Mapping

from tests.patience import PATIENCE_S

OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\r?\x1b\[2K|\x1b\[\d*A|\r(?=\x1b\[\d*[AK])")
"""What our own output makes: colours, and the moves of the progress bar."""


def in_terminal(
    command: list[str],
    columns: int = 200,
    environment: Mapping[str, str] | None = None,
    module: bool = True,
    heard: Callable[[subprocess.Popen[bytes], bytes], None] = lambda process, said: None,
) -> tuple[int, str]:
    """(exit code, all that it wrote) of a command of ours, or of Python; `heard` is told of what has come so far."""
    master, slave = os.openpty()
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST  # a terminal makes \r\n of \n, which would hide a \r
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    started = [sys.executable, *(("-m", "stream_monitor") if module else ()), *command]
    process = subprocess.Popen(
        started, stdin=slave, stdout=slave, stderr=slave,
        env=plain | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | dict(environment or {}),
    )  # fmt: skip
    os.close(slave)
    patience = threading.Timer(PATIENCE_S, process.kill)
    patience.start()
    said = b""
    while True:
        try:
            came = os.read(master, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux says so when nobody has the other end any more
                raise
            break
        if not came:
            break
        said += came
        heard(process, said)
    os.close(master)
    code = process.wait()
    patience.cancel()
    return code, said.decode()


def steering(text: str) -> set[str]:
    """The characters of a text, in what is not ours, that steer a terminal, hide or turn round."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {repr(c) for c in OURS.sub("", text) if c != "\n" and unicodedata.category(c) in kinds}
