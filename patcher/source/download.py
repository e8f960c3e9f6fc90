"""Packages from the registries that the user's own pip and npm are set up for, cached and hashed.

Nothing of a package is run, neither to learn what it depends on nor to pack it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patcher.base import lock, processes
from patcher.base.cache import cache_dir
from patcher.base.environment import networked
from patcher.base.errors import SourceError
from patcher.base.os_errors import reason, refused, way_out
from patcher.base.progress import SILENT, Reporter
from patcher.source import index
from patcher.source.pip_settings import PipSettings, pip_settings

LOCK_SECONDS = 1800.0
VERSION_SECONDS = 60.0
DOWNLOAD_SECONDS = 1800.0

# Of what npm says, the lines that only number the failure or name its log.
_NUMBERS = re.compile(r"npm (?:error|ERR!)\s+(?:code|errno|syscall|path|A complete log|Log files)\b")


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
        said = _run([program, "view", name, "version", "--json"], f"npm:{name}", VERSION_SECONDS)
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
    """The source archive of a PyPI package; nothing of it is run. Raises :class:`SourceError`."""
    return _from_index(name, version, wheels=False, reporter=reporter)


def wheel(name: str, reporter: Reporter = SILENT, *, version: str | None = None) -> Download:
    """The wheel of a PyPI package that fits any machine, the newest where no ``version`` is given.

    Raises :class:`SourceError`.
    """
    return _from_index(name, version, wheels=True, reporter=reporter)


def require_hash(found: Download, what: str, sha256: str) -> None:
    """Raise :class:`SourceError` where ``found`` isn't the file that its hash was written down of."""
    if found.sha256 != sha256:
        raise SourceError(
            f"{what}: looked for the file with SHA-256 {sha256[:16]}..., found {found.sha256[:16]}...",
            hint="an index of your own serves another file of that name: see 'pip config list'",
        )


def _from_index(name: str, version: str | None, *, wheels: bool, reporter: Reporter) -> Download:
    prefix = "wheel" if wheels else "pypi"
    settings: PipSettings | None = None
    chosen: index.PackageFile | None = None

    def choose() -> tuple[index.PackageFile, PipSettings]:
        nonlocal settings, chosen
        settings = settings or pip_settings()
        chosen = chosen or index.pick(name, version, index.files(name, settings, wheels=wheels))
        return chosen, settings

    if version is None:
        version = choose()[0].version(name) or ""
    what = f"pypi:{name}=={version}"

    def get(folder: Path) -> None:
        file, known = choose()
        if not file.hashes:
            reporter.note(f"{what}: the index gives no hash of {file.name}")
        index.save(file, folder / re.sub(r"[^\w.+!-]", "_", file.name), known)

    return _cached(f"{prefix}-{name}-{version}", what, version, get, reporter)


_NPM = "name a version (npm:NAME@VERSION); 'npm config get registry' says who answers"


GET_AGAIN = "get it again: 'q8a8-patch cache clean downloads', then the same command"


def _json_string(said: str, what: str) -> str:
    try:
        value = json.loads(said)
    except ValueError as why:
        raise SourceError(
            f"{what}: looked for its newest version, found no JSON in npm's answer", hint=_NPM
        ) from why
    value = value[-1] if isinstance(value, list) and value else value
    if not isinstance(value, str):
        raise SourceError(f"{what}: looked for its newest version, found none in npm's answer", hint=_NPM)
    return value


def _run(command: list[str], what: str, seconds: float | None = None) -> str:
    """Run a package client, for :data:`DOWNLOAD_SECONDS` at most where nothing else is said.

    Its last word becomes the error; an interruption ends it and its children.
    """
    seconds = DOWNLOAD_SECONDS if seconds is None else seconds
    environment = networked("npm_config_.*", NO_COLOR="1", npm_config_update_notifier="false")
    client = Path(command[0]).name
    try:
        # not where we are: npm takes settings from a .npmrc of the folder
        done = processes.run(command, folder=cache_dir(), env=environment, seconds=seconds)
    except processes.NotStartedError as why:
        raise refused(f"{what}: {command[0]}", why.reason, what="run", failure=SourceError) from why
    except processes.ProcessError as why:
        raise SourceError(f"{what}: {client} {why.message}", hint=why.hint) from why
    if done.code != 0:
        said = _reason(done.errors) or _reason(done.text) or f"exit status {done.code}"
        raise SourceError(
            f"{what}: {client}: {said}",
            hint="check the name, the version and the network ('q8a8-patch doctor'), or use another --source",
        )
    return done.text


def _reason(said: str) -> str:
    """The line that says why a package client failed: its last error; of npm's, the first that tells."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:npm )?(?:error|ERR!)", line, re.IGNORECASE)]
    telling = [line for line in errors if line.startswith("npm ") and not _NUMBERS.match(line)]
    return telling[0] if telling else (errors or lines or [""])[-1]


def _cached(key: str, what: str, version: str, get: Callable[[Path], None], reporter: Reporter) -> Download:
    """The one file that ``get`` puts into a folder: from the cache where its hash still holds.

    A download goes to a folder of its own and is renamed when it is complete, so that nothing half is
    ever used. The lock makes one name enough for that folder: what is there was left by a killed one.
    """
    key = re.sub(r"[^\w.+-]", "_", key)
    home = cache_dir("downloads")
    try:
        with lock.hold(home / f"{key}.lock", seconds=LOCK_SECONDS, failure=SourceError):
            there = _read(home / key, what, version, reporter)
            return there if there is not None else _fresh(home, key, what, version, get, reporter)
    except lock.LockTakenError as why:
        raise SourceError(
            f"{what}: another process has been downloading it for {LOCK_SECONDS:g} s",
            hint="wait for it or end it, then run the same command again",
        ) from why
    except OSError as why:
        raise SourceError(f"{what}: {home} can't be written ({reason(why)})", hint=way_out(why)) from why


def _fresh(
    home: Path, key: str, what: str, version: str, get: Callable[[Path], None], reporter: Reporter
) -> Download:
    draft = home / f".{key}.part"
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir()
    try:
        with reporter.step(f"Downloading {what}"):
            get(draft)
        files = [path for path in draft.iterdir() if path.is_file() and not path.is_symlink()]
        if len(files) != 1:
            raise SourceError(
                f"{what}: looked for one file, found {len(files)} in what was downloaded",
                hint="run the same command again; where that is no help, name another version or --source",
            )
        name, digest, size = files[0].name, _hash(files[0]), files[0].stat().st_size
        document = {"what": what, "file": name, "sha256": digest, "size": size}
        (draft / "download.json").write_text(json.dumps(document), encoding="utf-8")
        if (home / key).exists():
            shutil.rmtree(home / key)
        draft.replace(home / key)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Download(home / key / name, digest, version)


def _read(folder: Path, what: str, version: str, reporter: Reporter) -> Download | None:
    try:
        document = json.loads((folder / "download.json").read_text(encoding="utf-8"))
        path = folder / Path(document["file"]).name
        # two packages may have one key: a-1 of version 2, a of version 1-2
        if document["what"] == what and _hash(path) == document["sha256"]:
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
