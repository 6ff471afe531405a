"""Secrets among the settings: which they are, and how they are read from files.

A secret is a `SecretStr` from the moment it is read: whatever prints, logs or dumps the settings shows asterisks, and
only the client that needs the text asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from stream_monitor.errors import SettingsError

OPTIONS = ("kafka", "options")
KEYS = (("http", "token"), ("privacy", "key"))
"""Settings that are secret; options of the client are so by their names."""
RECEIVERS = ("notify", "receivers")
RECEIVER_KEYS = ("key", "former_key", "token", "url", "routing_key", "password")
"""Of each receiver of messages. An address is a secret where who knows it may write."""
FILE, ENV = "file:", "env:"
MAX_BYTES = 65_536
"""More than a certificate chain with its key has; a larger file is some other one."""

_TOKEN = re.compile(r"[!-~]{16,}")
_WORDS = ("password", "passphrase", "secret", "token", "jaas", "credential", "key.pem", "ssl_key", "oauthbearer.config")
_PLACES = (".url", ".location", ".file")
_WITH_UNDERSCORE = frozenset({"log_level", "ssl_key", "ssl_certificate", "ssl_ca"})


def is_secret(path: Sequence[str]) -> bool:
    """Whether the setting at this path (`kafka`, `options`, `sasl.password`) is one that nothing may show."""
    *section, key = path
    if tuple(section) == OPTIONS:
        return any(word in key for word in _WORDS) and not key.endswith(_PLACES)
    if len(section) == 3 and tuple(section[:2]) == RECEIVERS:
        return key in RECEIVER_KEYS
    return tuple(path) in KEYS


def option_name(name: str) -> str:
    """The option that the last part of a variable means: shells allow no dots there, and options no underscores."""
    return name if name in _WITH_UNDERSCORE else name.replace("_", ".")


def hidden_options(options: Any) -> Any:
    """Options of the client with the secret ones hidden; ValueError for what is no option, without its value."""
    if not isinstance(options, dict):
        return options
    return {name: _hidden(str(name), value) for name, value in options.items()}


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"{name} must be text, a number, true or false")
    if not is_secret((*OPTIONS, name)):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text: put it in quotes, for YAML reads 0123 as 83")
    return SecretStr(value)


def read_files(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Replace each `file:PATH` by what the file says; SettingsError names every file that cannot be read.

    Any option of the client may come from a file, and is a secret then. What receivers keep secret may also come from
    a variable, as `env:NAME`.
    """
    problems: list[str] = []
    options = _section(raw, OPTIONS)
    places: list[tuple[dict[Any, Any], Any, tuple[str, ...]]]
    places = [(options, name, (*OPTIONS, str(name))) for name in options]
    places += [(_section(raw, path[:-1]), path[-1], path) for path in KEYS]
    for name in _section(raw, RECEIVERS):
        receiver = (*RECEIVERS, str(name))
        places += [(_section(raw, receiver), key, (*receiver, key)) for key in RECEIVER_KEYS]
        problems += _read_variables(_section(raw, receiver), receiver, environ)
    for section, key, path in places:
        value = section.get(key)
        if isinstance(value, str) and value.startswith(FILE):
            try:
                section[key] = SecretStr(_read(Path(value.removeprefix(FILE))))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                problems.append(f"{'.'.join(path)}: cannot read {value.removeprefix(FILE)!r}: {reason}")
    if problems:
        raise SettingsError("\n".join(problems))


def _read_variables(section: dict[Any, Any], path: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    """Replace each `env:NAME` of a receiver by what the variable says; returns the problems."""
    problems = []
    for key in RECEIVER_KEYS:
        value = section.get(key)
        if isinstance(value, str) and value.startswith(ENV):
            name = value.removeprefix(ENV)
            if environ.get(name):
                section[key] = SecretStr(environ[name])
            else:
                problems.append(f"{'.'.join((*path, key))}: the variable {name!r} is not set, or is empty")
    return problems


def _section(raw: dict[str, Any], path: Sequence[str]) -> dict[Any, Any]:
    """The mapping at a path; an empty one where there is none, for that is the validation's to say."""
    place: Any = raw
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes, so it is no secret")
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None  # the error's own text would show some of it
    if not text:
        raise ValueError("it is empty")
    return text


def checked_token(token: SecretStr | None) -> SecretStr | None:
    """A token that can stand in a header and cannot be guessed."""
    if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("must have at least 16 letters, digits or punctuation marks of ASCII, and no blanks")
    return token


def checked_key(key: SecretStr | None) -> SecretStr | None:
    """A key that nobody finds by trying."""
    if key is not None and len(key.get_secret_value()) < 16:
        raise ValueError("must have at least 16 characters, best random ones")
    return key


def reveal(value: Any) -> Any:
    """The text of a secret; anything else as it is."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value
