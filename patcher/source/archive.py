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
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO

from patcher.base.errors import SourceError
from patcher.base.os_errors import reason
from patcher.base.progress import SILENT, Reporter
from patcher.source import tar_reader

MAX_MEMBERS = 50_000
MAX_BYTES = 2 << 30
MAX_RATIO = 100  # bytes that come out of one; sources are packed to a fifth or an eighth
SPARE = 64 << 20  # bytes that any archive may unpack to
MAX_PATH = 4096  # bytes of a name and of a link's target, as PATH_MAX has it
MAX_NAMES = 16 << 20  # of all of them together
MAX_LINKS = 40  # followed one after the other, as Linux does
MAX_STEPS = 1_000_000  # folders that all links together lead through
MAX_DIRECTORY = 16 << 20  # bytes of a zip's directory, which is read whole

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
    MemoryError,  # a dictionary of any size, of LZMA
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class Member:
    """One entry: where it goes, what it is, how to read it."""

    path: PurePosixPath
    file_type: str  # file, folder, link
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
    return SourceError(f"{archive}: member {_shown(str(member.path))} {problem}; nothing was unpacked")


def _checked(
    archive: Path, members: list[Member], wanted: Callable[[PurePosixPath], PurePosixPath | None]
) -> list[tuple[Member, PurePosixPath]]:
    chosen: list[tuple[Member, PurePosixPath]] = []
    seen = _Node("folder")
    for member in members:
        problem = _problem(member) or _put(seen, member)
        if problem is not None:
            raise _refused(archive, member, problem)
        place = wanted(member.path)
        if place is not None:
            chosen.append((member, place))
    # Only all links together say where one leads; and what stays in the archive may lead out of the
    # folder, where a part of the archive is wanted.
    for placed in ([(member, member.path) for member in members], chosen):
        top = _Node("folder")
        links = [(member, place) for member, place in placed if member.file_type == "link"]
        for member, place in links:
            top.below(place.parts).target = member.target or ""
        steps = 0
        for member, place in links:
            out, taken = _leads_out(place, top, MAX_STEPS - steps)
            steps += taken
            if steps > MAX_STEPS:
                raise _refused(
                    archive, member, f"is a link, and all lead through more than {MAX_STEPS} folders"
                )
            if out:
                raise _refused(archive, member, f"is a link that leads out, to {_shown(member.target or '')}")
    return chosen


@dataclass
class _Node:
    """A place in the archive, and what is in it: by parts, so that a name costs its length."""

    file_type: str | None = None
    target: str | None = None
    inside: dict[str, _Node] = field(default_factory=dict)

    def below(self, parts: Iterable[str]) -> _Node:
        """The node at ``parts`` from here, made where it isn't there."""
        node = self
        for part in parts:
            node = node.inside.setdefault(part, _Node())
        return node


def _put(top: _Node, member: Member) -> str | None:
    """Note what is at the member's place, or say why it can't be there."""
    node = top
    for part in member.path.parts:
        if node.file_type in ("file", "link"):
            return "lies below a file or a link"
        node.file_type = "folder"
        node = node.inside.setdefault(part, _Node())
    if node.file_type is not None and (node.file_type, member.file_type) != ("folder", "folder"):
        return "comes twice"
    node.file_type = member.file_type
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


def _problem(member: Member) -> str | None:
    """Why this member may not be unpacked, whatever else is in the archive."""
    if member.path.is_absolute() or ":" in (member.path.parts or ("",))[0]:
        return "has an absolute path"
    if len(member.target or "") > MAX_PATH:
        return f"is a link to a path of {len(member.target or '')} bytes"
    if len(str(member.path)) > MAX_PATH:
        return f"has a name of {len(str(member.path))} bytes"
    if ".." in member.path.parts:
        return "leads out of the archive"
    if any(character in text for text in (str(member.path), member.target or "") for character in "\\\0"):
        return "has a name that is not portable"
    if member.file_type not in ("file", "folder", "link"):
        return f"is a {member.file_type}"
    if not member.path.parts and member.file_type != "folder":
        return "has no name"
    if member.size < 0:
        return f"has a size of {member.size}"
    return None


def _leads_out(link: PurePosixPath, top: _Node, most: int) -> tuple[bool, int]:
    """Whether following ``link`` leaves the top, or never ends; and the steps that it took, ``most`` or so.

    Every link on the way is followed.
    """
    here: list[_Node | None] = [top]  # and every folder above; None for what isn't in the archive
    ahead = list(reversed(link.parts))
    followed = steps = 0
    while ahead and steps <= most:
        steps += 1
        part = ahead.pop()
        if part == "..":
            if len(here) == 1:
                return True, steps
            here.pop()
            continue
        above = here[-1]
        node = above.inside.get(part) if above is not None else None
        if node is None or node.target is None:
            here.append(node)
            continue
        followed += 1
        there = PurePosixPath(node.target)
        if not node.target or there.is_absolute() or followed > MAX_LINKS:
            return True, steps
        ahead += reversed(there.parts)
    return False, steps


def _write(archive: Path, member: Member, place: Path) -> int:
    try:
        if member.file_type == "folder":
            place.mkdir(parents=True, exist_ok=True)
            return 0
        place.parent.mkdir(parents=True, exist_ok=True)
        if member.file_type == "link":
            place.symlink_to(member.target or "")
            return 1
        source = member.open()
        if source is None:
            raise SourceError(f"{archive}: member {str(member.path)!r} can't be read")
        with source, place.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            written = out.tell()
    except _BROKEN as why:
        raise SourceError(
            f"{archive}: member {str(member.path)!r} can't be unpacked ({reason(why)})"
        ) from why
    if written != member.size:
        raise SourceError(f"{archive}: member {str(member.path)!r} is cut off")
    # only whether it may be run: no setuid, no file that its owner can't read
    place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    return 1


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    try:
        if zipfile.is_zipfile(archive) and not tar_reader.is_tar(archive):
            _check_directory(archive)
            with zipfile.ZipFile(archive) as opened:
                yield _limited(archive, (_from_zip(archive, opened, info) for info in opened.infolist()))
        else:
            with tar_reader.opened(archive) as opened_tar:
                yield _limited(archive, (_from_tar(opened_tar, info) for info in opened_tar))
    except _BROKEN as why:
        reason = str(why).partition("\n")[0].rstrip(":")  # tarfile says in more lines what it has tried
        raise SourceError(
            f"{archive}: can't be read as an archive ({reason})", hint="download it again"
        ) from why


def _check_directory(archive: Path) -> None:
    """Raise ``ValueError`` for a zip whose directory is longer than any that is meant to be unpacked.

    Its length stands in the record at the file's end (or in another before that, in a zip of more than 4 GB),
    and the standard library reads as much, and makes an object of each entry, before it gives us any.
    """
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 64))
        tail = file.read()
    if b"PK\x06\x07" in tail:
        raise ValueError("it is written for more than 4 GB or 65,535 members")
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if length > MAX_DIRECTORY and len(tail) - at >= 22:
            raise ValueError(f"its directory has {length} bytes, {MAX_DIRECTORY} at most are read")
        at = tail.find(b"PK\x05\x06", at + 1)


def _limited(archive: Path, members: Iterable[Member]) -> list[Member]:
    """All members, while they are within the limits: the data of a bomb isn't even skipped."""
    kept: list[Member] = []
    most = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size + SPARE)
    size = names = 0
    for member in members:
        kept.append(member)
        size += max(member.size, 0)
        names += len(str(member.path)) + len(member.target or "")
        if len(kept) > MAX_MEMBERS:
            raise _refused(archive, member, f"is one more than the {MAX_MEMBERS} that an archive may have")
        if size > most:
            raise _refused(archive, member, f"brings the size above {most / (1 << 20):g} MB")
        if names > MAX_NAMES:
            raise _refused(archive, member, f"brings the names above {MAX_NAMES >> 20} MB")
    return kept


def _begun(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with opened.open(info) as file:
        return file.read(MAX_PATH + 1)


def _from_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    file_type, target = "special file", None
    info.pax_headers = {}  # a copy for each
    if info.isfile() and not info.issparse():
        file_type = "file"
    elif info.isdir():
        file_type = "folder"
    elif info.issym():
        file_type, target = "link", info.linkname
    elif info.islnk():
        file_type = "hard link"
    return Member(
        PurePosixPath(info.name), file_type, info.size, info.mode, target, lambda: opened.extractfile(info)
    )


def _from_zip(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    # ZipFile cleans names up; the raw one is what has to be looked at
    path = PurePosixPath(info.orig_filename)
    member = Member(path, "file", info.file_size, mode, None, lambda: opened.open(info))
    if stat.S_ISLNK(mode):
        if info.file_size > MAX_PATH:
            raise _refused(archive, member, f"is a link to a path of {info.file_size} bytes")
        return replace(
            member, file_type="link", target=_begun(opened, info).decode("utf-8", "surrogateescape")
        )
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return replace(member, file_type="special file")
    # not is_dir(), which some Pythons can't say of a member without a name
    return replace(member, file_type="folder") if info.filename.endswith("/") else member
