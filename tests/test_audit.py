"""`make audit`: what was not audited never looks audited."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parent.parent / "requirements" / "audit.py"
verdict = runpy.run_path(str(FILE))["verdict"]


def report(*vulnerabilities: str, **more: Any) -> dict[str, Any]:
    found = [{"id": name, "fix_versions": ["2.0"]} for name in vulnerabilities]
    return {"dependencies": [{"name": "x", "version": "1.0", "vulns": found} | more]}


CANARY = report("CVE-1")


@pytest.mark.parametrize(
    ("canary", "found", "code", "told"),
    [
        (CANARY, report(), 0, "nothing is known against the 1 requirements"),
        (CANARY, report("CVE-2"), 1, "x 1.0: CVE-2, fixed in 2.0"),
        ("no route", "", 2, "NOT AUDITED: the advisory service does not answer: no route"),
        (report(), report(), 2, "NOT AUDITED: the advisory service knows nothing"),
        (CANARY, "x: not found", 2, "NOT AUDITED: x: not found"),
        (CANARY, report(skip_reason="not found"), 2, "NOT AUDITED: x"),
        (CANARY, {"dependencies": []}, 2, "NOT AUDITED: there are no requirements"),
    ],
)
def test_the_verdict_of_an_audit(canary: Any, found: Any, code: int, told: str) -> None:
    given, lines = verdict(canary, found)
    assert given == code
    assert lines[0].startswith(told)
