"""Packages from the registries that the user's own pip and npm are set up for, cached and hashed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patcher.cache import cache_dir
from patcher.errors import SourceError
from patcher.progress import SILENT, Reporter

LOCK_SECONDS = 1800.0
VERSION_SECONDS = 60.0


@dataclass(frozen=True)
class Download:
    """A package file in the cache."""

    path: Path
    sha256: str
    version: str


def npm(name: str, version: str | None, reporter: Reporter = SILENT) -> Download:
    """The tarball of an npm package, through ``npm pack``. Raises :class:`SourceError`."""
    program = shutil.which("npm")
    if program is None:
        raise SourceError(f"npm:{name}: npm not found", hint="install Node.js, or use another --source")
    if version is None:
        said = _run([program, "view", name, "version", "--json"], f"npm:{name}", seconds=VERSION_SECONDS)
        version = _json_string(said, f"npm:{name}")

    def get(folder: Path) -> None:
        command = [
            program,
            "pack",
            f"{name}@{version}",
            "--pack-destination",
            str(folder),
            "--ignore-scripts",
        ]
        _run(command, f"npm:{name}@{version}")

    return _cached(f"npm-{name}-{version}", f"npm:{name}@{version}", version, get, reporter)


def pypi(name: str, version: str | None, reporter: Reporter = SILENT) -> Download:
    """The sdist of a PyPI package, through ``pip download``. Raises :class:`SourceError`."""
    if version is None:
        version = _newest_on_pypi(name)

    def get(folder: Path) -> None:
        command = [
            *_pip(),
            "download",
            "--no-deps",
            "--no-binary",
            name,
            f"{name}=={version}",
            "-d",
            str(folder),
        ]
        _run([*command, "--disable-pip-version-check", "--quiet"], f"pypi:{name}=={version}")

    return _cached(f"pypi-{name}-{version}", f"pypi:{name}=={version}", version, get, reporter)


def wheel(name: str, reporter: Reporter = SILENT) -> Download:
    """The newest wheel of a PyPI package, through ``pip download``. Raises :class:`SourceError`."""
    version = _newest_on_pypi(name)

    def get(folder: Path) -> None:
        options = ["--no-deps", "--only-binary", ":all:", "-d", str(folder)]
        quiet = ["--disable-pip-version-check", "--quiet"]
        _run([*_pip(), "download", *options, *quiet, f"{name}=={version}"], f"pypi:{name}=={version}")

    return _cached(f"wheel-{name}-{version}", f"pypi:{name}=={version}", version, get, reporter)


def _pip() -> list[str]:
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip"]
    program = shutil.which("pip") or shutil.which("pip3")
    if program is None:
        raise SourceError("pip: not found", hint="python3 -m ensurepip, or use another --source")
    return [program]


def _newest_on_pypi(name: str) -> str:
    said = _run([*_pip(), "index", "versions", name], f"pypi:{name}", seconds=VERSION_SECONDS)
    found = re.search(rf"^{re.escape(name)}\s+\(([^)]+)\)", said, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise SourceError(f"pypi:{name}: looked for its newest version, found none in pip's answer")
    return found.group(1)


def _json_string(said: str, what: str) -> str:
    try:
        value = json.loads(said)
    except ValueError as why:
        raise SourceError(f"{what}: looked for its newest version, found no JSON in npm's answer") from why
    value = value[-1] if isinstance(value, list) and value else value
    if not isinstance(value, str):
        raise SourceError(f"{what}: looked for its newest version, found none in npm's answer")
    return value


def _run(command: list[str], what: str, seconds: float | None = None) -> str:
    """Run a package client. Its last word becomes the error; an interruption ends it and its children."""
    environment = os.environ | {"NO_COLOR": "1", "npm_config_update_notifier": "false"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=os.name == "posix",
    ) as child:
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as why:
            _end(child)
            raise SourceError(f"{what}: {Path(command[0]).name} gave no answer in {seconds:.0f} s") from why
        except BaseException:
            _end(child)
            raise
    if child.returncode != 0:
        lines = [
            line.strip() for line in (err or out).splitlines() if re.search(r"error|ERR", line, re.IGNORECASE)
        ]
        reason = lines[0] if lines else f"exit status {child.returncode}"
        raise SourceError(f"{what}: {Path(command[0]).name}: {reason}")
    return out


def _end(child: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGTERM)
    else:
        child.terminate()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()


def _cached(key: str, what: str, version: str, get: Callable[[Path], None], reporter: Reporter) -> Download:
    """The one file that ``get`` puts into a folder: from the cache where its hash still holds.

    A download goes to a temporary folder and is renamed when it is complete, so that nothing half
    is ever used.
    """
    from filelock import FileLock

    key = re.sub(r"[^\w.+-]", "_", key)
    home = cache_dir("downloads")
    with FileLock(home / f"{key}.lock", timeout=LOCK_SECONDS):
        there = _read(home / key, version, reporter)
        if there is not None:
            return there
        draft = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=home))
        try:
            with reporter.step(f"Downloading {what}"):
                get(draft)
            files = [path for path in draft.iterdir() if path.is_file()]
            if len(files) != 1:
                raise SourceError(f"{what}: looked for one file, found {len(files)} in what was downloaded")
            digest, size = _hash(files[0]), files[0].stat().st_size
            document = {"what": what, "file": files[0].name, "sha256": digest, "size": size}
            (draft / "download.json").write_text(json.dumps(document), encoding="utf-8")
            shutil.rmtree(home / key, ignore_errors=True)
            draft.replace(home / key)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Download(home / key / files[0].name, digest, version)


def _read(folder: Path, version: str, reporter: Reporter) -> Download | None:
    try:
        document = json.loads((folder / "download.json").read_text(encoding="utf-8"))
        path = folder / Path(document["file"]).name
        if _hash(path) == document["sha256"]:
            return Download(path, document["sha256"], version)
        reporter.note(f"{path}: is not what was downloaded, it is fetched again")
    except (OSError, ValueError, KeyError, TypeError):
        if folder.exists():
            reporter.note(f"{folder}: is not complete, it is fetched again")
    return None


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
