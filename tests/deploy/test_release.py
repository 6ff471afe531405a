"""`make release`: what it demands of a commit, and that two builds of one are equal."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stream_monitor.version import __version__

ROOT = Path(__file__).parents[2]
RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy" / "release.py"))


def git(folder: Path, *arguments: str) -> None:
    named = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def commit(tmp_path: Path) -> Path:
    """A repository whose only commit can be released."""
    (folder := tmp_path / "repository").mkdir()
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-12-01\n")
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a commit")
    git(folder, "tag", "v1.2.3")
    return folder


def test_a_tagged_commit_with_its_changelog_can_be_released(commit: Path) -> None:
    assert list(RELEASE["problems"](commit, "1.2.3")) == []


def test_each_of_what_is_missing_is_told(commit: Path) -> None:
    (commit / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    told = list(RELEASE["problems"](commit, "1.2.4"))
    assert told == [
        "the tree has changes that are not committed",
        "the commit has no tag v1.2.4; its tags are: v1.2.3",
        "CHANGELOG.md has no heading `## [1.2.4] - DATE`",
        "pyproject.toml has another version than 1.2.4",
    ]


def test_a_release_of_a_commit_without_a_tag_stops_before_it_builds() -> None:
    if (
        f"v{__version__}"
        in subprocess.run(
            ["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    ):
        pytest.skip("this commit is a release")
    done = subprocess.run(
        [sys.executable, "deploy/release.py", "--no-image"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "NOT RELEASED" in done.stderr and f"no tag v{__version__}" in done.stderr


def test_the_version_of_the_package_is_that_of_its_metadata() -> None:
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_two_builds_are_equal_and_hold_the_page_and_no_tests(tmp_path: Path) -> None:
    (target := tmp_path / "dist").mkdir()
    built = RELEASE["build_twice"](ROOT, target)
    assert sorted(built) == [f"stream_monitor-{__version__}-py3-none-any.whl", f"stream_monitor-{__version__}.tar.gz"]
    with zipfile.ZipFile(target / f"stream_monitor-{__version__}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    assert {f"stream_monitor/dashboard/static/{name}" for name in RELEASE["FILES_OF_THE_PAGE"]} <= set(names)
    assert {name.split("/")[0] for name in names} == {"stream_monitor", f"stream_monitor-{__version__}.dist-info"}


def test_builds_that_differ_are_told() -> None:
    with pytest.raises(RELEASE["ReleaseError"], match=r"differ: a\.whl, b\.whl$"):
        RELEASE["require_equal"]({"a.whl": b"1", "c.whl": b"1"}, {"a.whl": b"2", "b.whl": b"1", "c.whl": b"1"})


def test_checksums_are_those_that_sha256sum_reads(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.tar.gz").write_bytes(b"b")
    (tmp_path / "SHA256SUMS").write_text(RELEASE["checksums"](tmp_path))
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.stem)
def test_the_forge_understands_its_workflows(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
