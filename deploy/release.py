"""Makes and proves what a release publishes, in dist/: `make release`.

 1. the tree is clean, its commit has the tag of the version, and CHANGELOG.md has a section on it
 2. sdist and wheel, built twice from two copies of the commit: equal bytes
 3. the wheel alone, in a fresh environment: the demo finds both incidents, the page has its files
 4. the metadata is what the package index accepts (twine)
 5. the image, docker-compose.yml and the chart (`make deploy-test`), for this machine's processor
 6. SBOMs of wheel and image, and checksums of everything

`--rehearse` leaves out the first step, `--no-image` the fifth. Publishing is the work of .github/workflows/release.yml.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
TOOLS = ROOT / ".venv-release" / "bin"
FILES_OF_THE_PAGE = ("index.html", "login.html", "app.js", "page.css")
SBOMS = {"sbom-wheel.json": "runtime.txt", "sbom-image.json": "image.txt"}
"""File, and the pinned requirements that it lists."""


class ReleaseError(Exception):
    """The release stops here; the text says why."""


def run(*command: str | Path, folder: Path = ROOT, environ: Mapping[str, str] | None = None) -> str:
    """What a command prints; ReleaseError with all it says when it fails."""
    given = [str(part) for part in command]
    done = subprocess.run(given, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(
            f"{' '.join(given)}: exit code {done.returncode}\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}"
        )
    return done.stdout


def problems(root: Path, version: str) -> Iterator[str]:
    """What is wrong with the commit that is to be released."""
    if run("git", "status", "--porcelain", folder=root).strip():
        yield "the tree has changes that are not committed"
    tags = run("git", "tag", "--points-at", "HEAD", folder=root).split()
    if f"v{version}" not in tags:
        yield f"the commit has no tag v{version}; its tags are: {', '.join(tags) or 'none'}"
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", (root / "CHANGELOG.md").read_text(), re.M):
        yield f"CHANGELOG.md has no heading `## [{version}] - DATE`"
    named = re.search(r'^version = "(.*)"$', (root / "pyproject.toml").read_text(), re.M)
    if named is None or named.group(1) != version:
        yield f"pyproject.toml has another version than {version}"


def build(root: Path, target: Path) -> dict[str, bytes]:
    """Build sdist and wheel of the commit, from a copy of it; returns their bytes by name."""
    environ = os.environ | {"SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct", folder=root).strip()}
    with tempfile.TemporaryDirectory() as copy:
        archive = Path(copy) / "commit.tar"
        run("git", "archive", "--output", archive, "HEAD", folder=root)
        (source := Path(copy) / "source").mkdir()
        run("tar", "-xf", archive, "-C", source)
        run(sys.executable, "-m", "hatchling", "build", "-d", target, folder=source, environ=environ)
    return {path.name: path.read_bytes() for path in sorted(target.iterdir())}


def build_twice(root: Path, target: Path) -> dict[str, bytes]:
    """Build into `target`, and once more beside it; ReleaseError where a byte differs."""
    first = build(root, target)
    with tempfile.TemporaryDirectory() as other:
        second = build(root, Path(other))
    require_equal(first, second)
    return first


def require_equal(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> None:
    """ReleaseError that names the files in which two builds differ."""
    if different := sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)):
        raise ReleaseError(f"two builds of one commit differ: {', '.join(different)}")


def prove_wheel(wheel: Path) -> str:
    """Install the wheel alone, and run it; returns the last line of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / "bin"
        pip = (programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "demo.txt")
        run(*pip, "--no-deps", wheel)
        place = "import stream_monitor.dashboard as room; print(room.__path__[0])"
        static = Path(run(programs / "python", "-c", place, folder=Path(folder)).strip()) / "static"
        if missing := [name for name in FILES_OF_THE_PAGE if not (static / name).is_file()]:
            raise ReleaseError(f"the wheel lacks files of the page: {', '.join(missing)}")
        run(programs / "stream-monitor", "dashboard", "--help", folder=Path(folder))
        return run(programs / "stream-monitor", "demo", "--no-dashboard", folder=Path(folder)).splitlines()[-1]


def write_sboms(target: Path) -> None:
    """CycloneDX files of what wheel and image are made of."""
    for name, requirements in SBOMS.items():
        listed = ("requirements", "--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON")
        run(TOOLS / "cyclonedx-py", *listed, "-o", target / name, ROOT / "requirements" / requirements)


def checksums(folder: Path) -> str:
    """The lines of SHA256SUMS, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def release(rehearse: bool, image: bool) -> None:
    """All steps; ReleaseError from the first that fails."""
    version = runpy.run_path(str(ROOT / "stream_monitor" / "version.py"))["__version__"]
    if not rehearse and (found := list(problems(ROOT, version))):
        raise ReleaseError("\n".join(found))
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for name, content in build_twice(ROOT, DIST).items():
        print(f"{name}: {len(content) / 1e6:.1f} MB, the same twice")
    (wheel,) = DIST.glob("*.whl")
    print(f"the wheel alone: {prove_wheel(wheel)}")
    run(TOOLS / "twine", "check", "--strict", *DIST.iterdir())
    if image:
        run("make", "deploy-test")
    print("image, compose and chart: proved" if image else "image, compose and chart: LEFT OUT")
    write_sboms(DIST)
    (DIST / "SHA256SUMS").write_text(checksums(DIST))
    print(f"{version} is in {DIST}" + (", rehearsed: commit, tag and CHANGELOG were not looked at" if rehearse else ""))


def main() -> None:
    """Run the steps; exit code 1 with the reason where one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="do not look at tree, tag and CHANGELOG")
    parser.add_argument("--no-image", action="store_true", help="leave out image, compose and chart")
    given = parser.parse_args()
    try:
        release(given.rehearse, not given.no_image)
    except ReleaseError as error:
        sys.exit(f"NOT RELEASED: {error}")


if __name__ == "__main__":
    main()
