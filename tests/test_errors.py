"""The errors that are raised on purpose, and the tree in their module's docstring."""

from __future__ import annotations

import inspect

from stream_monitor import errors


def test_the_tree_in_the_docstring_names_every_error_below_its_parent() -> None:
    raised = {
        name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
    }
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in lines:
        name = next(word for word in line.split() if word in raised)
        depth = line.index(name) // 4
        above[depth] = name
        parents[name] = above.get(depth - 1, "Exception")
    assert parents == {name: kind.__bases__[0].__name__ for name, kind in raised.items()}
