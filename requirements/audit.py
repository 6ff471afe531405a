"""Audits the pinned runtime requirements: `make audit`.

An index or service that knows no advisories answers like one that found nothing. So a package that is known to be
vulnerable is asked about first: when it is not found, nothing was audited, and that is said and is a failure.

Exit codes: 0 nothing known against the requirements, 1 vulnerabilities, 2 NOT AUDITED.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).with_name("image.txt")
CANARY = "urllib3==1.24.1"  # CVE-2019-11324 and others
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 2


def pip_audit(requirements: Path, *options: str) -> dict[str, Any] | str:
    """The report on a requirements file, or why there is none."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, "-f", "json", "-r", str(requirements), *options], capture_output=True, text=True, check=False
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return "\n".join(done.stderr.strip().splitlines()[-1:]) or f"pip-audit ended with {done.returncode}"
    return report


def known(report: dict[str, Any] | str) -> list[str]:
    """A line for each vulnerability of a report."""
    if isinstance(report, str):
        return []
    return [
        f"{package['name']} {package.get('version')}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in report["dependencies"]
        for vulnerability in package.get("vulns", ())
    ]


def verdict(canary: dict[str, Any] | str, report: dict[str, Any] | str) -> tuple[int, list[str]]:
    """(exit code, what to say) of the reports on the canary and on the requirements."""
    if isinstance(canary, str):
        return NOT_AUDITED, [f"NOT AUDITED: the advisory service does not answer: {canary}"]
    if not known(canary):
        return NOT_AUDITED, [f"NOT AUDITED: the advisory service knows nothing against {CANARY}, so it knows nothing"]
    if isinstance(report, str):
        return NOT_AUDITED, [f"NOT AUDITED: {report}"]
    skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    if skipped or not report["dependencies"]:
        return NOT_AUDITED, [f"NOT AUDITED: {', '.join(skipped) or 'there are no requirements'}"]
    if found := known(report):
        return VULNERABLE, found
    return CLEAN, [f"nothing is known against the {len(report['dependencies'])} requirements in {REQUIREMENTS.name}"]


def main() -> None:
    """Ask about the canary, then about the requirements; arguments go to pip-audit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "canary.txt"
        file.write_text(CANARY + "\n")
        canary = pip_audit(file, "--no-deps", *sys.argv[1:])
    report = pip_audit(REQUIREMENTS, *sys.argv[1:]) if known(canary) else "the canary was not found"
    code, lines = verdict(canary, report)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    sys.exit(code)


if __name__ == "__main__":
    main()
