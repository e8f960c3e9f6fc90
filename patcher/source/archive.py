"""Archives are hostile input: every member is checked, and only what is asked for is written."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from patcher.base.errors import SourceError
from patcher.base.progress import SILENT, Reporter

MAX_MEMBERS = 200_000
MAX_BYTES = 8 << 30
MAX_TARGET = 4096  # bytes of a link's target, as PATH_MAX has it
MAX_LINKS = 40  # followed one after the other, as Linux does

# What the readers of the standard library raise for damaged files. RuntimeError: an encrypted or
# unknown kind of member in a zip.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
)


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
    naming archive and member, for absolute paths, ``..``, links that lead out (of the archive, or of
    ``folder`` from where they are wanted), devices, pipes, two members of one name, too many members or
    bytes, and for a file that is cut off.
    """
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


def _refused(archive: Path, member: Member, problem: str) -> SourceError:
    return SourceError(f"{archive}: member {str(member.path)!r} {problem}; nothing was unpacked")


def _checked(
    archive: Path, members: list[Member], wanted: Callable[[PurePosixPath], PurePosixPath | None]
) -> list[tuple[Member, PurePosixPath]]:
    chosen: list[tuple[Member, PurePosixPath]] = []
    seen: dict[PurePosixPath, str] = {}
    for member in members:
        problem = _problem(member)
        known = seen.get(member.path)
        if problem is None and known is not None and (known, member.kind) != ("folder", "folder"):
            problem = "comes twice"
        if problem is None and any(seen.get(parent) in ("file", "link") for parent in member.path.parents):
            problem = "lies below a file or a link"
        if problem is not None:
            raise _refused(archive, member, problem)
        seen[member.path] = member.kind
        seen |= dict.fromkeys(member.path.parents, "folder")
        place = wanted(member.path)
        if place is not None:
            chosen.append((member, place))
    # Only all links together say where one leads; and what stays in the archive may lead out of the
    # folder, where a part of the archive is wanted.
    for placed in ([(member, member.path) for member in members], chosen):
        links = {place: member.target or "" for member, place in placed if member.kind == "link"}
        for member, place in placed:
            if member.kind == "link" and _leads_out(place, links):
                raise _refused(archive, member, f"is a link that leads out, to {member.target!r}")
    return chosen


def _problem(member: Member) -> str | None:
    """Why this member may not be unpacked, whatever else is in the archive."""
    if member.path.is_absolute() or ":" in (member.path.parts or ("",))[0]:
        return "has an absolute path"
    if ".." in member.path.parts:
        return "leads out of the archive"
    if any(character in text for text in (str(member.path), member.target or "") for character in "\\\0"):
        return "has a name that is not portable"
    if member.kind not in ("file", "folder", "link"):
        return f"is a {member.kind}"
    if not member.path.parts and member.kind != "folder":
        return "has no name"
    if member.size < 0:
        return f"has a size of {member.size}"
    return None


def _leads_out(link: PurePosixPath, links: dict[PurePosixPath, str]) -> bool:
    """Whether following ``link`` leaves the top, or never ends. Every link on the way is followed."""
    here = list(link.parts[:-1])
    ahead = [link.name]
    followed = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not here:
                return True
            here.pop()
            continue
        here.append(part)
        target = links.get(PurePosixPath(*here))
        if target is not None:
            followed += 1
            there = PurePosixPath(target)
            if not target or there.is_absolute() or followed > MAX_LINKS:
                return True
            here.pop()
            ahead += reversed(there.parts)
    return False


def _write(archive: Path, member: Member, place: Path) -> int:
    try:
        if member.kind == "folder":
            place.mkdir(parents=True, exist_ok=True)
            return 0
        place.parent.mkdir(parents=True, exist_ok=True)
        if member.kind == "link":
            place.symlink_to(member.target or "")
            return 1
        source = member.open()
        if source is None:
            raise SourceError(f"{archive}: member {str(member.path)!r} can't be read")
        with source, place.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            written = out.tell()
    except _BROKEN as why:
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
                yield _limited(archive, (_from_zip(archive, opened, info) for info in opened.infolist()))
        else:
            with tarfile.open(archive) as opened_tar:
                yield _limited(archive, (_from_tar(opened_tar, info) for info in opened_tar))
    except _BROKEN as why:
        reason = str(why).partition("\n")[0].rstrip(":")  # tarfile says in more lines what it has tried
        raise SourceError(
            f"{archive}: can't be read as an archive ({reason})", hint="download it again"
        ) from why


def _limited(archive: Path, members: Iterable[Member]) -> list[Member]:
    """All members, while they are within the limits: the data of a bomb isn't even skipped."""
    kept: list[Member] = []
    size = 0
    for member in members:
        kept.append(member)
        size += max(member.size, 0)
        if len(kept) > MAX_MEMBERS:
            raise _refused(archive, member, f"is one more than the {MAX_MEMBERS} that an archive may have")
        if size > MAX_BYTES:
            raise _refused(archive, member, f"brings the size above {MAX_BYTES / (1 << 30):g} GiB")
    return kept


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


def _from_zip(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    # ZipFile cleans names up; the raw one is what has to be looked at
    path = PurePosixPath(info.orig_filename)
    member = Member(path, "file", info.file_size, mode, None, lambda: opened.open(info))
    if stat.S_ISLNK(mode):
        if info.file_size > MAX_TARGET:
            raise _refused(archive, member, f"is a link to a path of {info.file_size} bytes")
        return replace(member, kind="link", target=opened.read(info).decode("utf-8", "surrogateescape"))
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return replace(member, kind="special file")
    return replace(member, kind="folder") if info.is_dir() else member
