"""Archives are hostile input: every member is checked, and only what is asked for is written."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from patcher.base.errors import SourceError
from patcher.base.os_errors import next_step, reason
from patcher.base.progress import SILENT, Reporter
from patcher.source.members import AGAIN, BROKEN, MAX_PATH, Member, members_of, refusal, shown

MAX_LINKS = 40  # followed one after the other, as Linux does
MAX_STEPS = 1_000_000  # folders that all links together lead through


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
    with members_of(archive) as members:
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
    with members_of(archive) as members:
        return [str(member.path) for member in members]


def _checked(
    archive: Path, members: list[Member], wanted: Callable[[PurePosixPath], PurePosixPath | None]
) -> list[tuple[Member, PurePosixPath]]:
    chosen: list[tuple[Member, PurePosixPath]] = []
    seen = _Node("folder")
    for member in members:
        problem = _problem(member) or _put(seen, member)
        if problem is not None:
            raise refusal(archive, member, problem)
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
                raise refusal(
                    archive, member, f"is a link, and all lead through more than {MAX_STEPS} folders"
                )
            if out:
                raise refusal(archive, member, f"is a link that leads out, to {shown(member.target or '')}")
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
            raise SourceError(f"{archive}: member {str(member.path)!r} can't be read", hint=AGAIN)
        with source, place.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            written = out.tell()
    except BROKEN as why:
        raise SourceError(
            f"{archive}: member {str(member.path)!r} can't be unpacked ({reason(why)})",
            hint=next_step(why) or AGAIN,
        ) from why
    if written != member.size:
        raise SourceError(
            f"{archive}: member {str(member.path)!r}: looked for {member.size} bytes, found {written}",
            hint=AGAIN,
        )
    # only whether it may be run: no setuid, no file that its owner can't read
    place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    return 1
