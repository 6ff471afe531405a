"""Locks of workers lie where nobody else can hold, replace or block them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stream_monitor.config.settings import parse
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.worker_slots import locks_folder, take_slot
from tests.patience import PATIENCE_S

SETTINGS = parse({"app": "shop"})


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as /tmp is: everybody may write it, and nobody may remove what belongs to others."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def number(slot: str) -> int:
    return int(slot.rpartition("-")[2])


def test_workers_take_the_first_free_slot() -> None:
    (first, lock), (second, other) = take_slot(SETTINGS, "judge"), take_slot(SETTINGS, "judge")
    assert lock is not None and other is not None
    assert (number(first), number(second)) == (0, 1)
    lock.close()
    again, third = take_slot(SETTINGS, "judge")
    assert again == first and third is not None
    other.close()
    third.close()


def test_what_others_leave_under_the_names_of_former_versions_does_no_harm(temporary: Path) -> None:
    os.mkfifo(temporary / "stream-monitor-shop-judge-0.lock")
    slot, lock = take_slot(SETTINGS, "judge")
    assert number(slot) == 0 and lock is not None
    lock.close()


def test_the_folder_is_ours_alone(temporary: Path) -> None:
    _, lock = take_slot(SETTINGS, "judge")
    assert lock is not None
    lock.close()
    assert locks_folder().stat().st_mode & 0o777 == 0o700
    assert [path.name for path in temporary.iterdir()] == [f"stream-monitor-{os.geteuid()}"]


def test_two_users_of_a_machine_never_share_a_name() -> None:
    slot, lock = take_slot(SETTINGS, "judge")
    assert lock is not None and slot.split("-")[-2] == str(os.geteuid())
    lock.close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_may_write_is_refused_with_its_mending(mode: int) -> None:
    folder = locks_folder()
    folder.chmod(mode)
    os.chown(folder, -1, 65_534)
    with pytest.raises(BrokerError, match=rf"chmod go-w {folder}.*kafka\.worker_id"):
        take_slot(SETTINGS, "judge")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT, so no folder of another user can be made: nothing tested")
def test_a_folder_of_another_user_is_refused() -> None:
    os.chown(locks_folder(), 65_534, 65_534)
    with pytest.raises(BrokerError, match="belongs to user 65534, not to us"):
        take_slot(SETTINGS, "judge")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT, so no link of another user can be made: nothing tested")
def test_a_link_of_another_user_in_place_of_the_folder_is_refused(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(0o700)
    link = temporary / f"stream-monitor-{os.geteuid()}"
    link.symlink_to(tmp_path / "private")
    os.chown(link, 65_534, 65_534, follow_symlinks=False)
    with pytest.raises(BrokerError, match="belongs to user 65534, not to us"):
        take_slot(SETTINGS, "judge")
    assert not list((tmp_path / "private").iterdir())


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (locks_folder() / "shop-judge-0.lock").symlink_to(target)
    with pytest.raises(BrokerError, match="is no lock of ours"):
        take_slot(SETTINGS, "judge")
    assert not target.exists()


def test_a_pipe_in_place_of_a_lock_holds_nobody_up() -> None:
    """In a process of its own: before, the start hung for ever."""
    os.mkfifo(locks_folder() / "shop-judge-0.lock")
    start = "from stream_monitor.kafka.worker_slots import *; take_slot(Settings(app='shop'), 'judge')"
    environ = os.environ | {"TMPDIR": tempfile.gettempdir()}
    done = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, check=False, env=environ, timeout=PATIENCE_S
    )
    assert "no regular file" in done.stderr


def test_a_folder_in_place_of_a_lock_is_told() -> None:
    (locks_folder() / "shop-judge-0.lock").mkdir()
    with pytest.raises(BrokerError, match=r"is no lock of ours.*kafka\.worker_id"):
        take_slot(SETTINGS, "judge")


def test_a_folder_that_cannot_be_made_is_told(temporary: Path) -> None:
    (temporary / f"stream-monitor-{os.geteuid()}").write_text("")
    with pytest.raises(BrokerError, match=r"no folder for the locks of workers.*TMPDIR"):
        take_slot(SETTINGS, "judge")
