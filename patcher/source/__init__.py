"""A source (URL, folder, repository, bundle, archive, package) becomes a checkout with a recorded base.

Work is done in a sibling of the destination and renamed when it is complete: an interruption leaves
no half checkout.
"""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from patcher import git
from patcher.base.errors import SourceError, UsageError
from patcher.base.files import write_whole
from patcher.base.os_errors import refused
from patcher.base.progress import SILENT, Reporter
from patcher.source import archive, download
from patcher.source.locator import DEFAULT_URL, Locator, SourceForm, parse

__all__ = ["DEFAULT_URL", "Checkout", "Locator", "SourceForm", "fetch", "made_of", "parse"]

MARKER = "q8a8-patch.json"  # in the checkout's .git
ASKED = "asked"  # in the marker: the locator's form, name and ref, which tell a source from another
MESSAGE = "llama.cpp as it was fetched"


@dataclass(frozen=True)
class Checkout:
    """A git checkout whose base commit is upstream's state, before any patch."""

    path: Path
    base: str
    locator: str
    form: str
    release: str | None = None
    sha256: str | None = None  # of the package that it came from
    notes: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, object]:
        """The JSON form, and what the marker in the checkout holds."""
        return {
            "path": str(self.path),
            "base": self.base,
            "locator": self.locator,
            "kind": self.form,
            "release": self.release,
            "sha256": self.sha256,
            "notes": list(self.notes),
        }

    @classmethod
    def from_document(cls, path: Path, document: Mapping[str, Any]) -> Checkout:
        """The checkout at ``path`` that ``document`` tells of. Raises KeyError where it lacks a fact."""
        return cls(
            path=path,
            base=document["base"],
            locator=document["locator"],
            form=document["kind"],
            release=document["release"],
            sha256=document["sha256"],
            notes=tuple(document["notes"]),
        )


def fetch(
    text: str | None, destination: Path, *, ref: str | None = None, reporter: Reporter = SILENT
) -> Checkout:
    """Bring the source ``text`` to ``destination``, a folder that is new or empty, or was made so before.

    None means upstream's newest release, from its own repository or, where that can't be reached,
    from a package that ships one. Raises :class:`SourceError` where the source can't be had,
    :class:`UsageError` where the destination is somebody else's.
    """
    destination = destination.resolve()
    locator = parse(text, ref) if text else Locator(SourceForm.GIT_URL, DEFAULT_URL, ref, DEFAULT_URL)
    there = _made_before(destination, locator)
    if there is not None:
        reporter.note(f"{destination}: is there already ({there.release or there.base[:12]})")
        return there
    if locator.form is SourceForm.DIRECTORY and destination.is_relative_to(locator.name):
        raise UsageError(
            f"{destination}: looked for a place outside of {locator.name}, which is copied, found one in it",
            hint="name a folder elsewhere",
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(
            tempfile.mkdtemp(prefix=f".{destination.name}-", suffix=".q8a8-patch", dir=destination.parent)
        )
    except OSError as why:
        raise refused(why.filename or destination, why, what="made") from why
    try:
        made = _get(locator, draft / "tree", reporter) if text else _default(draft, ref, reporter)
        _require_llama(made.path, made.locator)
        git.record_base(made.path, made.base)
        checkout = replace(made, path=destination)
        marker = {**checkout.document(), ASKED: [locator.form.value, locator.name, locator.ref]}
        write_whole(made.path / ".git" / MARKER, json.dumps(marker, indent=1))
        if destination.exists():
            destination.rmdir()  # it is empty: _made_before has looked
        made.path.replace(destination)
    except OSError as why:
        raise refused(destination, why, what=f"filled from {locator.text}", failure=SourceError) from why
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return checkout


def _made_before(destination: Path, locator: Locator) -> Checkout | None:
    """The checkout that an earlier fetch of the same source left at ``destination``."""
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return None
    marker = destination / ".git" / MARKER
    hint = "name a folder that doesn't exist yet"
    if not marker.is_file():
        raise UsageError(f"{destination}: is not empty, and not a checkout that fetch made", hint=hint)
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))
        form, name, ref = known.pop(ASKED)
        there = Checkout.from_document(destination, known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as why:
        raise UsageError(f"{marker}: can't be read ({why!r})", hint=hint) from why
    same = (form, name) == (locator.form.value, locator.name)
    if not same or locator.ref not in (None, ref, there.release, there.base):
        held = there.locator if ref is None or there.locator.endswith(ref) else f"{there.locator} at {ref}"
        wanted = locator.text if not same or locator.ref is None else f"{locator.name} at {locator.ref}"
        raise UsageError(f"{destination}: holds {held}, not {wanted}", hint=hint)
    return there


def made_of(folder: Path) -> Checkout | None:
    """What :func:`fetch` noted of the checkout that it made at ``folder``; None for any other folder."""
    try:
        known = json.loads((folder / ".git" / MARKER).read_text(encoding="utf-8"))
        return Checkout.from_document(folder, known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _default(draft: Path, ref: str | None, reporter: Reporter) -> Checkout:
    """Upstream's newest release, or the newest package that ships one."""
    attempts: list[Callable[[Path], Checkout]] = [
        lambda place: _git_url(Locator(SourceForm.GIT_URL, DEFAULT_URL, ref, DEFAULT_URL), place, reporter),
        lambda place: _npm(Locator(SourceForm.NPM, "node-llama-cpp", None, DEFAULT_URL), place, reporter),
        lambda place: _pypi(Locator(SourceForm.PYPI, "llama-cpp-python", None, DEFAULT_URL), place, reporter),
    ]
    failures: list[str] = []
    for number, attempt in enumerate(attempts[: 1 if ref else None]):
        try:
            made = attempt(draft / f"tree{number}")
        except SourceError as why:
            failures.append(why.message)
            continue
        if failures:
            said = f"{DEFAULT_URL} can't be reached, this is {made.notes[0]}"
            reporter.warn(f"{said} ({failures[0]})")
            return replace(made, locator=made.notes[0], notes=(*made.notes, said))
        return made
    raise SourceError(
        "no source of llama.cpp can be reached: " + "; ".join(failures), hint="name one with --source"
    )


def _get(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    steps: dict[SourceForm, Callable[[Locator, Path, Reporter], Checkout]] = {
        SourceForm.GIT_URL: _git_url,
        SourceForm.GIT_REPOSITORY: _repository,
        SourceForm.BUNDLE: _repository,
        SourceForm.DIRECTORY: _directory,
        SourceForm.ARCHIVE: _archive,
        SourceForm.NPM: _npm,
        SourceForm.PYPI: _pypi,
    }
    return steps[locator.form](locator, place, reporter)


def _made(
    locator: Locator, place: Path, commit: str, release: str | None, *notes: str, sha256: str | None = None
) -> Checkout:
    return Checkout(place, commit, locator.text, locator.form.value, release, sha256, notes)


def _git_url(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    ref = locator.ref or git.newest_release_tag(locator.name)
    git.clone(locator.name, place, ref, reporter)
    release = ref if git.newest_of([ref]) else None
    return _made(locator, place, git.resolve(place, "HEAD"), release, f"{locator.name}@{ref}")


def _repository(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    git.clone(locator.name, place, locator.ref, reporter)
    notes = [locator.ref] if locator.ref else []
    if (
        locator.form is SourceForm.GIT_REPOSITORY
        and (Path(locator.name) / ".git").exists()
        and git.is_dirty(Path(locator.name))
    ):
        notes.append("changes that aren't committed were left out")
        reporter.warn(f"{locator.name}: {notes[-1]}")
    release = locator.ref if locator.ref and git.newest_of([locator.ref]) else None
    return _made(locator, place, git.resolve(place, "HEAD"), release, *notes)


def _directory(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    root = Path(locator.name)
    vendored = root / "vendor" / "llama.cpp"
    inner = vendored if not _is_llama(root) and _is_llama(vendored) else root
    if not inner.resolve().is_relative_to(root):
        raise SourceError(f"{inner}: is a link that leads out of {root}", hint="name the folder it leads to")
    with reporter.step(f"Copying {inner}"):
        # links stay links: what they lead to is none of ours
        shutil.copytree(inner, place, symlinks=True, ignore=_left_out)
    return _made(locator, place, git.init_with_commit(place, MESSAGE), None, str(inner))


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Of a folder's names: what is no part of a tree, and what can't be copied (pipes, sockets, devices)."""
    modes = {name: (Path(folder) / name).lstat().st_mode for name in names}
    copied = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return {
        name
        for name, mode in modes.items()
        if name in (".git", ".q8a8-patch") or not any(is_one(mode) for is_one in copied)
    }


def _archive(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    return _unpacked(locator, Path(locator.name), place, reporter)


def _pypi(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    package = download.pypi(locator.name, locator.ref, reporter)
    note = f"pypi:{locator.name}=={package.version}"
    return _unpacked(locator, package.path, place, reporter, note, package.version, sha256=package.sha256)


def _unpacked(
    locator: Locator, path: Path, place: Path, reporter: Reporter, *notes: str, sha256: str | None = None
) -> Checkout:
    """The folder of an archive that holds ``ggml/include/ggml.h``: at its top, or vendored below."""
    tops = [
        PurePosixPath(name).parents[2]
        for name in archive.names(path)
        if PurePosixPath(name).parts[-3:] == ("ggml", "include", "ggml.h")
    ]
    if not tops:
        raise SourceError(
            f"{path}: looked for ggml/include/ggml.h in it, found none",
            hint="name an archive of llama.cpp's sources, from July 2024 or later, or of a project that"
            " has a copy of them",
        )
    top = min(tops, key=lambda folder: len(folder.parts))

    def wanted(name: PurePosixPath) -> PurePosixPath | None:
        # what a packager left of the repository that it was vendored from is no repository any more
        inner = name.relative_to(top) if name.is_relative_to(top) and name != top else None
        return inner if inner is not None and ".git" not in inner.parts else None

    archive.unpack(path, wanted, place, reporter)
    return _made(locator, place, git.init_with_commit(place, MESSAGE), None, *notes, sha256=sha256)


def _npm(locator: Locator, place: Path, reporter: Reporter) -> Checkout:
    """``node-llama-cpp`` ships a git bundle of one release, and a file that names it."""
    package = download.npm(locator.name, locator.ref, reporter)
    bundle, info = "package/llama/gitRelease.bundle", "package/llama/llama.cpp.info.json"
    parts = place.parent / f"{place.name}-package"
    archive.unpack(
        package.path, lambda name: PurePosixPath(name.name) if str(name) in (bundle, info) else None, parts
    )
    if not (parts / "gitRelease.bundle").is_file():
        raise SourceError(
            f"npm:{locator.name}@{package.version}: looked for {bundle}, found none",
            hint="name a version of node-llama-cpp, 3.0 or later",
        )
    git.clone(str(parts / "gitRelease.bundle"), place, None, reporter)
    note = f"npm:{locator.name}@{package.version}"
    release = _named_release(parts / "llama.cpp.info.json")
    if release is None:
        reporter.warn(f"{note}: {info} doesn't name the release")
    commit = git.resolve(place, "HEAD")
    return _made(locator, place, commit, release, note, package.version, sha256=package.sha256)


def _named_release(info: Path) -> str | None:
    """The release that the file of a package names; None where it names none, or what can be none."""
    try:
        tag = json.loads(info.read_text(encoding="utf-8"))["tag"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return git.newest_of([tag]) if isinstance(tag, str) else None


def _is_llama(folder: Path) -> bool:
    return (folder / "ggml/include/ggml.h").is_file() and (folder / "include/llama.h").is_file()


def _require_llama(folder: Path, what: str) -> None:
    if not _is_llama(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        found = ", ".join([name for name in names if name != ".git"][:5]) or "nothing"
        looked_for = "a llama.cpp tree (ggml/include/ggml.h, include/llama.h)"
        raise SourceError(
            f"{what}: looked for {looked_for}, found {found}",
            hint="name llama.cpp's own folder or a release of it, from July 2024 or later",
        )
