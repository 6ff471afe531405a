"""Machine code is kept where only we can write, and never outlives the sources it was made of."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stream_monitor

PACKAGE = Path(stream_monitor.__file__).parent
HASH = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from stream_monitor.kernels.id_hash import hash_ids
print(hash_ids(["abc"])[0, 0])
"""
NOT_WARM = """
import gc
import stream_monitor.service.run
from numba.core.dispatcher import Dispatcher
from stream_monitor.kernels.numba_backend import KeptCode
from stream_monitor.service.warm_up import warm_up
warm_up()
found = [each for each in gc.get_objects() if isinstance(each, Dispatcher) and isinstance(each._cache, KeptCode)]
assert found
print(*(each.py_func.__qualname__ for each in found if not each.signatures))
"""
COMPILES = "INFO:stream_monitor.kernels.numba_backend:compiling what reads"
NOT_KEPT = "machine code is not kept, so every start compiles"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with a copy of the package, as a checkout has it."""
    folder = tmp_path / "checkout"
    shutil.copytree(PACKAGE, folder / "stream_monitor", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    return folder


def hashed(sources: Path, cache: Path | None, **more: str) -> tuple[int, str]:
    """What compiled code says in a fresh process, and what that logged."""
    environ = {**os.environ, "PYTHONPATH": str(sources), "NUMBA_CACHE_DIR": str(cache or ""), **more}
    command = [sys.executable, "-c", HASH]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=sources)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


def test_machine_code_is_kept_and_that_it_is_compiled_is_told_once(sources: Path, tmp_path: Path) -> None:
    first, told = hashed(sources, tmp_path / "cache")
    assert told.count(COMPILES) == 1 and "once, and kept in" in told
    assert hashed(sources, tmp_path / "cache") == (first, "")


def test_a_changed_callee_in_another_file_is_compiled_anew(sources: Path, tmp_path: Path) -> None:
    before, _ = hashed(sources, tmp_path / "cache")
    callee = sources / "stream_monitor" / "kernels" / "json_scanner.py"
    text = callee.read_text()
    assert text.count("return word << np.uint64(64 - 8 * n)") == 1
    callee.write_text(text.replace("return word << np.uint64(64 - 8 * n)", "return word << np.uint64(63 - 8 * n)"))
    after, told = hashed(sources, tmp_path / "cache")
    assert after != before
    assert COMPILES in told


class Planted:
    """What runs a command where a pickle is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, (f"touch {self.mark}",)


def plant(cache: Path, mark: Path) -> None:
    indexes = list(cache.rglob("*.nbi"))
    assert indexes
    for index in indexes:
        index.write_bytes(pickle.dumps(Planted(mark)))


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_may_write_is_not_read(sources: Path, tmp_path: Path, mode: int) -> None:
    cache, mark = tmp_path / "cache", tmp_path / "mark"
    expected, _ = hashed(sources, cache)
    plant(cache, mark)
    cache.chmod(mode)
    os.chown(cache, -1, 65_534)  # a group that is not ours alone
    found, told = hashed(sources, cache)
    assert found == expected and not mark.exists()
    assert NOT_KEPT in told and f"others may write the folder {cache}" in told and "NUMBA_CACHE_DIR" in told


def test_a_folder_inside_is_looked_at_too(sources: Path, tmp_path: Path) -> None:
    cache, mark = tmp_path / "cache", tmp_path / "mark"
    hashed(sources, cache)
    plant(cache, mark)
    next(path for path in cache.iterdir() if path.is_dir()).chmod(0o777)
    _, told = hashed(sources, cache)
    assert NOT_KEPT in told and not mark.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT, so no folder of another user can be made: nothing tested")
def test_a_folder_of_another_user_is_not_read(sources: Path, tmp_path: Path) -> None:
    cache, mark = tmp_path / "cache", tmp_path / "mark"
    hashed(sources, cache)
    plant(cache, mark)
    os.chown(cache, 65_534, 65_534)
    _, told = hashed(sources, cache)
    assert "belongs to user 65534, not to us" in told and not mark.exists()


def test_the_folder_beside_the_package_is_never_read(sources: Path, tmp_path: Path) -> None:
    """Whoever may write a checkout runs code anyway; a package of root's may have a cache that all write."""
    hashed(sources, tmp_path / "cache")
    assert not list(sources.rglob("*.nbi"))


def test_without_a_named_folder_the_users_own_is_taken(sources: Path, tmp_path: Path) -> None:
    _, told = hashed(sources, None, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert f"kept in {tmp_path / 'home' / 'stream-monitor' / 'machine-code'}" in told
    assert list((tmp_path / "home").rglob("*.nbi"))


def test_a_cache_that_is_no_folder_is_told_with_the_name_of_the_variable(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, told = hashed(sources, tmp_path / "file")
    assert NOT_KEPT in told and "NUMBA_CACHE_DIR" in told


def test_a_damaged_index_is_told_and_mended(sources: Path, tmp_path: Path) -> None:
    expected, _ = hashed(sources, tmp_path / "cache")
    for index in (tmp_path / "cache").rglob("*.nbi"):
        index.write_bytes(b"")
    found, told = hashed(sources, tmp_path / "cache")
    assert found == expected and "cannot be read, so it is compiled anew" in told
    assert hashed(sources, tmp_path / "cache") == (expected, "")


def test_a_processor_that_lacks_what_is_promised_is_told(sources: Path, tmp_path: Path) -> None:
    """Not a process that dies of an illegal instruction."""
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_CPU_FEATURES": "+popcnt,+no_such_thing"}
    done = subprocess.run(
        [sys.executable, "-c", HASH], capture_output=True, text=True, check=False, env=environ, cwd=sources
    )
    assert "this processor has no no_such_thing" in done.stderr.splitlines()[-1]


def test_warming_up_compiles_all_that_a_worker_calls(tmp_path: Path) -> None:
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", NOT_WARM], capture_output=True, text=True, check=False, env=environ, cwd=PACKAGE.parent
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
