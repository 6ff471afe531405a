"""Folders that nobody else may write: for what we trust without another look, machine code and locks."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def made_private(folder: Path, mode: int = 0o700) -> Path:
    """The folder without links on the way, made where it is missing.

    PermissionError when anyone but us and root may change what is in it, or put another one in its place.
    """
    whole = folder.absolute()
    for missing in [place for place in reversed(whole.parents) if not place.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    whole.mkdir(mode=mode, exist_ok=True)
    real = whole.resolve(strict=True)  # a link that somebody changes later leads nobody astray
    for place in (whole, *reversed(real.parents), real):
        _require_private(place, place == real)
    return real


def _require_private(place: Path, last: bool) -> None:
    status = os.lstat(place)
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionError(f"{place} belongs to user {status.st_uid}, not to us")
    if stat.S_ISLNK(status.st_mode):
        return
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{place} is no folder")
    # Where only owners may rename and remove, others cannot replace what is in a folder above ours.
    shielded = not last and status.st_mode & stat.S_ISVTX
    if _open_to_others(status) and not shielded:
        raise PermissionError(f"others may write the folder {place} (`chmod go-w {place}` mends it)")


def _open_to_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IWOTH) or bool(status.st_mode & stat.S_IWGRP and not _own_group(status.st_gid))


def _own_group(number: int) -> bool:
    """Whether a group is one user's alone: of his name and without other members, as many systems make them."""
    try:
        group, name = grp.getgrgid(number), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # no entry: then nobody says who is in it
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}
