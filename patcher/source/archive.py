"""Archives are hostile input: every member is checked, and only what is asked for is written."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from patcher.errors import SourceError
from patcher.progress import SILENT, Reporter

MAX_MEMBERS = 200_000
MAX_BYTES = 8 << 30


@dataclass(frozen=True)
class Member:
    """One entry: where it goes, what it is, how to read it."""

    path: PurePosixPath
    kind: str  # file, folder, link
    size: int
    mode: int
    target: str | None  # of a link
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path,
    wanted: Callable[[PurePosixPath], PurePosixPath | None],
    folder: Path,
    reporter: Reporter = SILENT,
) -> int:
    """Write the members for which ``wanted`` gives a place below ``folder``; return how many files.

    All members are checked before the first is written, wanted or not. Raises :class:`SourceError`,
    naming archive and member, for absolute paths, ``..``, links that lead out, devices, pipes, two
    members of one name, too many members or bytes, and for a file that is cut off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _members(archive) as members:
        chosen = _checked(archive, members, wanted)
        count = 0
        with reporter.step(f"Unpacking {archive.name}", total=len(chosen)) as step:
            for number, (member, place) in enumerate(chosen):
                if number % 200 == 0:
                    step.update(done=number)
                count += _write(archive, member, folder / place)
    return count


def names(archive: Path) -> list[str]:
    """The path of every member, as it is written in the archive. Raises :class:`SourceError`."""
    with _members(archive) as members:
        return [str(member.path) for member in members]


def _checked(
    archive: Path, members: list[Member], wanted: Callable[[PurePosixPath], PurePosixPath | None]
) -> list[tuple[Member, PurePosixPath]]:
    if len(members) > MAX_MEMBERS:
        raise SourceError(f"{archive}: {len(members)} members, more than {MAX_MEMBERS}")
    if sum(member.size for member in members) > MAX_BYTES:
        raise SourceError(f"{archive}: unpacks to more than {MAX_BYTES >> 30} GiB")
    chosen: list[tuple[Member, PurePosixPath]] = []
    seen: dict[PurePosixPath, str] = {}
    for member in members:
        problem = _problem(member)
        if problem is None and seen.get(member.path, "folder") != "folder":
            problem = "comes twice"
        if problem is None and any(seen.get(parent) in ("file", "link") for parent in member.path.parents):
            problem = "lies below a file or a link"
        if problem is not None:
            raise SourceError(f"{archive}: member {str(member.path)!r} {problem}; nothing was unpacked")
        seen[member.path] = member.kind
        place = wanted(member.path)
        if place is not None:
            chosen.append((member, place))
    return chosen


def _problem(member: Member) -> str | None:
    """Why this member may not be unpacked."""
    text = str(member.path)
    if member.path.is_absolute() or ":" in (member.path.parts or ("",))[0]:
        return "has an absolute path"
    if ".." in member.path.parts:
        return "leads out of the archive"
    if "\\" in text or "\0" in text:
        return "has a name that is not portable"
    if member.kind not in ("file", "folder", "link"):
        return f"is a {member.kind}"
    if member.kind == "link":
        target = PurePosixPath(member.target or "")
        depth = len(member.path.parts) - 1
        for part in target.parts:
            depth += -1 if part == ".." else 1
            if depth < 0:
                break
        if target.is_absolute() or depth < 0 or not target.parts:
            return f"is a link that leads out, to {member.target!r}"
    return None


def _write(archive: Path, member: Member, place: Path) -> int:
    if member.kind == "folder":
        place.mkdir(parents=True, exist_ok=True)
        return 0
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.kind == "link":
        place.symlink_to(member.target or "")
        return 1
    try:
        source = member.open()
        if source is None:
            raise SourceError(f"{archive}: member {str(member.path)!r} can't be read")
        with source, place.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            written = out.tell()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as why:
        raise SourceError(f"{archive}: member {str(member.path)!r} can't be unpacked ({why})") from why
    if written != member.size:
        raise SourceError(f"{archive}: member {str(member.path)!r} is cut off")
    # only whether it may be run: no setuid, no file that its owner can't read
    place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    return 1


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    try:
        if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield [_from_zip(opened, info) for info in opened.infolist()]
        else:
            with tarfile.open(archive) as opened_tar:
                yield [_from_tar(opened_tar, info) for info in opened_tar.getmembers()]
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as why:
        raise SourceError(
            f"{archive}: can't be read as an archive ({why})", hint="download it again"
        ) from why


def _from_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kind, target = "special file", None
    if info.isfile():
        kind = "file"
    elif info.isdir():
        kind = "folder"
    elif info.issym():
        kind, target = "link", info.linkname
    elif info.islnk():
        kind = "hard link"
    return Member(
        PurePosixPath(info.name), kind, info.size, info.mode, target, lambda: opened.extractfile(info)
    )


def _from_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    kind, target = "folder" if info.is_dir() else "file", None
    if stat.S_ISLNK(mode):
        kind, target = "link", opened.read(info).decode("utf-8", "replace")
    elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "special file"
    # ZipFile cleans names up; the raw one is what has to be looked at
    return Member(
        PurePosixPath(info.orig_filename), kind, info.file_size, mode, target, lambda: opened.open(info)
    )
