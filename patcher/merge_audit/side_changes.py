"""What a side did to the other files of a merge: what it defines elsewhere now, which names it gave up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from patcher.merge_audit.item import language
from patcher.merge_audit.mark import Mark
from patcher.merge_audit.meeting import Meeting

_WORD = re.compile(r"[A-Za-z_]\w*")
_DEFINES = (
    rb"\bNAME\s*\([^;{}]{0,2000}\)[^;{}()]{0,80}\{|^[ \t]*(?:def|class) NAME\b"
    rb"|\b(?:enum|struct|union|class|namespace)\b[^;{}()]{0,80}\bNAME\b[^;{}()]{0,200}\{"
    rb"|\bNAME\s*(?:\[[^\]]{0,200}\]\s*){0,4}=\s*\{"
)
_SEARCHED = 200  # files in which a function is looked for that left its file


class SideChanges:
    """The files of both sides of ``meeting`` that differ from the base; each is read once it is asked for."""

    def __init__(self, meeting: Meeting) -> None:
        self._meeting = meeting
        self._texts: dict[int, dict[str, bytes]] = {}
        self._names: dict[int, set[str]] = {}

    def left_alone(self, side: str, path: str) -> bool:
        """Whether the side other than ``side`` has done nothing to the file: what became of it is the merge's
        own doing."""
        meeting = self._meeting
        if side not in ("ours", "theirs"):
            return False
        *bases, ours, theirs, _ = meeting.contents(path)
        return (theirs if side == "ours" else ours) in bases

    def went_elsewhere(self, mark: Mark, path: str) -> bool:
        """Whether the side that removed the owner of ``mark`` here defines it in another file."""
        name = (mark.key.owner[:1] or ("",))[0].rpartition("::")[2]
        if not name.isidentifier() or mark.gone != mark.key.owner[0]:
            return False
        return any(
            not pattern.search(self._before(number, there))
            for number, there, pattern in self._defining(mark.removed_by, name, path)
        )

    def came_from_elsewhere(self, mark: Mark, path: str) -> bool:
        """Whether the side that brought ``mark`` took its function from a file that the other changed.

        What that side did to the function there is here, too.
        """
        name = (mark.key.owner[:1] or ("",))[0].rpartition("::")[2].partition("<")[0]
        if mark.side not in ("ours", "theirs") or not name.isidentifier():
            return False
        return any(self._defining("theirs" if mark.side == "ours" else "ours", name, path))

    def _defining(self, side: str, name: str, path: str) -> Iterator[tuple[int, str, re.Pattern[bytes]]]:
        """The files other than ``path`` that ``side`` changed and that define ``name``, a function, a class,
        an enum, a structure, a table: the side's number, the file, and what finds the definition."""
        number = self._meeting.number(side)
        pattern = re.compile(_DEFINES.replace(b"NAME", name.encode()), re.MULTILINE)
        for there, data in self._of_language(number, path):
            if pattern.search(data):
                yield number, there, pattern

    def _before(self, number: int, path: str) -> bytes:
        """What the base has of the ``path`` of a side's version; nothing where it hasn't that."""
        moved = self._meeting.versions[number].moved
        return self._meeting.bases[0].read(moved.get(path, path)) or b""

    def given_up(self, side: str) -> set[str]:
        """The names that the side other than ``side`` uses less than the base: callers have to follow it."""
        meeting = self._meeting
        if side not in ("ours", "theirs"):
            return set()
        number = meeting.number("theirs" if side == "ours" else "ours")
        if number not in self._names:
            before, after = Counter[str](), Counter[str]()
            for name, data in self._changed(number).items():
                before.update(_WORD.findall(self._before(number, name).decode("utf-8", "replace")))
                after.update(_WORD.findall(data.decode("utf-8", "replace")))
            self._names[number] = {word for word, count in before.items() if after[word] < count}
        return self._names[number]

    def _of_language(self, number: int, path: str) -> Iterator[tuple[str, bytes]]:
        """The files of a side's version that it changed, of the language of ``path``, that one aside."""
        for name, data in self._changed(number).items():
            if language(name) == language(path) and name != self._meeting.real(number, path):
                yield name, data

    def _changed(self, number: int) -> dict[str, bytes]:
        """The files of a side's version that it changed; a bounded number."""
        if number not in self._texts:
            side, base = self._meeting.versions[number], self._meeting.bases[0]
            changed = [
                name
                for name, content in sorted(side.contents.items())
                if base.contents.get(side.moved.get(name, name)) != content and language(name)
            ]
            self._texts[number] = {name: side.read(name) or b"" for name in changed[:_SEARCHED]}
        return self._texts[number]
