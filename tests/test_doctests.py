"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import stream_monitor.detect

MODULES = [
    module.name
    for module in pkgutil.walk_packages(stream_monitor.detect.__path__, "stream_monitor.detect.")
    if not module.ispkg
]
WITHOUT = {"binned", "shares", "tests", "multivariate", "overdispersion", "volume", "registry", "river_adapter"}
"""Of the rooms of tests and detectors, modules that are none."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), verbose=False)
    assert found.failed == 0
    room, _, module = name.removeprefix("stream_monitor.detect.").partition(".")
    if room in ("windows", "sequential") and module not in WITHOUT:
        assert found.attempted > 0, f"{name} has no example"
