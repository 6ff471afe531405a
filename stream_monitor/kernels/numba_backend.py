"""Numba, for the loops that touch every value: reading JSON, adding up, merging. It has one door, and this is it.

Machine code is kept on disk. Numba's index of it is a pickle, so whoever may write the folder runs code in our
processes: a folder that others may write is not used. And numba looks at the file of a function, not at what the
function calls: the code lies in a folder that is named by a hash of all sources it can come from.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import logging
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.extending import intrinsic

from stream_monitor.errors import SettingsError
from stream_monitor.folders import made_private

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
"""No runtime: nothing here allocates, and counting references would cost more than the work. No division raises."""
_PACKAGE = Path(__file__).parent
_IMPORT = re.compile(r"^(?:from (stream_monitor[\w.]*) )?import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_BROKEN = (EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError)
"""What reading a damaged pickle raises."""


def compiled(function: F) -> F:
    """Compile a function when it is first called, and keep the machine code on disk where that is safe."""
    dispatcher: Any = njit(**_OPTIONS)(function)
    dispatcher._cache = KeptCode(function)
    result: F = dispatcher
    return result


def inlined(function: F) -> F:
    """Compile a function into its callers: for what is called per value, and has one caller or few lines."""
    dispatcher: F = njit(inline="always", **_OPTIONS)(function)
    return dispatcher


@functools.cache
def sources_hash() -> str:
    """A hash of every module of ours that compiled code can come from: those that compile, and what they import."""
    texts = {_module(file): file.read_text(encoding="utf-8") for file in _PACKAGE.rglob("*.py")}
    wanted = [name for name, text in texts.items() if "from stream_monitor.kernels.numba_backend import" in text]
    reached: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in texts and name not in reached:
            reached.add(name)
            wanted.extend(_imported(texts[name]))
    mixed = hashlib.sha256()
    for name in sorted(reached):
        mixed.update(f"{name} {len(texts[name])}\n{texts[name]}".encode())
    return mixed.hexdigest()[:16]


def _module(file: Path) -> str:
    return ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def _imported(text: str) -> Iterator[str]:
    """Names that may be modules: what is imported, and from where."""
    for found in _IMPORT.finditer(text):
        parts = re.findall(r"[\w.]+", found[2])
        yield from (f"{found[1]}.{part}" for part in parts) if found[1] else parts
        if found[1]:
            yield found[1]


def kept_under() -> Path | None:
    """The folder of all machine code: NUMBA_CACHE_DIR, or one of the user's cache; None where there is no home."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(named)
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without an entry and without HOME
        return None
    return Path(root) / "stream-monitor" / "machine-code"


@functools.cache
def code_folder() -> Path | None:
    """The folder for the machine code of these sources; None, with a warning, where none can be had or trusted."""
    root = kept_under()
    try:
        if root is None:
            raise FileNotFoundError("there is no home folder")
        made_private(root)
        return made_private(root / sources_hash(), 0o755)
    except OSError as error:
        log.warning(
            "machine code is not kept, so every start compiles: %s. Let NUMBA_CACHE_DIR name a folder that this user "
            "may write and no other (docs/security.md)",
            error,
        )
        return None


class _Place:
    """Where numba keeps the code of a function; read-only is fine for what is there already."""

    def __init__(self, function: Any, file: str) -> None:
        self._function, self._py_file = function, file  # the second name is read by numba's warnings

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Place:
        """The place of a function's code; there is one for each."""
        return cls(function, file)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(code_folder())

    def ensure_cache_path(self) -> None:
        """The folder is there; whether it can be written shows where something is."""

    def get_source_stamp(self) -> str:
        """What must be unchanged; the folder is named by our sources, a function may come from elsewhere."""
        return hashlib.sha256(Path(self._py_file).read_bytes()).hexdigest()

    def get_disambiguator(self) -> str:
        """What tells functions of one name apart."""
        return f"{self._function.__module__}-{self._function.__code__.co_firstlineno}"


class _Reduced(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Place]  # noqa: RUF012 (as numba has it)


class _Files(FunctionCache):
    _impl_class = _Reduced


class KeptCode:
    """The cache of one compiled function, in the shape that numba's dispatcher asks for; nothing is read before."""

    _told: ClassVar[bool] = False

    def __init__(self, function: Any) -> None:
        self._function = function

    @functools.cached_property
    def _files(self) -> Any:
        make: Callable[[Any], Any] = _Files
        return make(self._function) if code_folder() is not None else None

    @property
    def cache_path(self) -> str | None:
        """The folder."""
        return None if self._files is None else self._files.cache_path

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The machine code for these types; None when it must be compiled now."""
        _require_processor()
        found = None if self._files is None else self._load(signature, target)
        if found is None:
            self._tell(signature)
        return found

    def _tell(self, signature: Any) -> None:
        if not KeptCode._told:
            KeptCode._told = True
            _tell_compiling(f"{self._function.__module__}.{self._function.__qualname__}{signature}")

    def _load(self, signature: Any, target: Any) -> Any:
        try:
            return self._files.load_overload(signature, target)
        except (OSError, *_BROKEN) as error:
            log.warning("machine code in %s cannot be read, so it is compiled anew: %r", self.cache_path, error)
            self._write(self._files.flush)
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep machine code; where that fails it is told, and the next start compiles again."""
        if self._files is not None:
            self._write(lambda: self._files.save_overload(signature, result))

    def _write(self, save: Callable[[], None]) -> None:
        try:
            with _alone(Path(self._files.cache_path)):
                save()
        except OSError as error:
            _tell_unwritten(str(error))

    def enable(self) -> None:
        """Numba's interface; it is always on."""

    def disable(self) -> None:
        """Numba's interface; it is always on."""

    def flush(self) -> None:
        """Forget the code of this function."""
        if self._files is not None:
            self._write(self._files.flush)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Numba's index and code are two files: two processes that save at once could mix them up."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _require_processor() -> None:
    """SettingsError where NUMBA_CPU_FEATURES, which the image sets, promises what this processor has not."""
    promised = os.environ.get("NUMBA_CPU_FEATURES", "").split(",")
    lacking = [name[1:] for name in promised if name.startswith("+") and not get_host_cpu_features().get(name[1:])]
    if lacking:
        raise SettingsError(
            f"this processor has no {', '.join(lacking)}, for which NUMBA_CPU_FEATURES has machine code made: set "
            "NUMBA_CPU_NAME=generic and NUMBA_CPU_FEATURES to nothing; each start compiles then, up to a minute"
        )


def _tell_compiling(first: str) -> None:
    """Once in a process; the log holds what it began with, for after `warm_up` nothing should be left."""
    folder = code_folder()
    often = "at each start, for it cannot be kept" if folder is None else f"once, and kept in {folder}"
    log.info("compiling what reads and judges events, %s: this takes up to a minute", often, extra={"first": first})


@functools.cache
def _tell_unwritten(why: str) -> None:
    log.warning(
        "compiled machine code cannot be kept, so the next start compiles again: %s. Let NUMBA_CACHE_DIR name a folder "
        "that can be written",
        why,
    )


def _load(result: Any, kind: ir.Type) -> Any:
    def load(context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [args[1]]), kind.as_pointer())
            return builder.load(place, align=1)

        return result(array, types.intp), generate

    return load


def _trailing_zeros(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


load8: Any = intrinsic(_load(types.uint64, ir.IntType(64)))
"""load8(array, at): eight bytes of an array as a word, the first one lowest; the array must reach that far."""

load_double: Any = intrinsic(_load(types.float64, ir.DoubleType()))
"""load_double(array, at): eight bytes of an array as a double; the array must reach that far."""

trailing_zeros: Any = intrinsic(_trailing_zeros)
"""trailing_zeros(word): zero bits below the lowest one of a word that is not zero."""

if sys.byteorder != "little":
    raise ImportError("stream_monitor reads JSON in little-endian words; this machine's are big-endian")
