"""What a side did to the other files of a merge: what it defines elsewhere now, which names it gave up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from patcher.merge_audit.item import language
from patcher.merge_audit.mark import Mark
from patcher.merge_audit.meeting import Meeting

_WORD = re.compile(r"[A-Za-z_]\w*")
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
        return self._defines(mark.removed_by, name, path)

    def came_from_elsewhere(self, mark: Mark, path: str) -> bool:
        """Whether the side that brought ``mark`` took its function from a file that the other changed.

        What that side did to the function there is here, too.
        """
        name = (mark.key.owner[:1] or ("",))[0].rpartition("::")[2].partition("<")[0]
        if mark.side not in ("ours", "theirs") or not name.isidentifier():
            return False
        return self._defines("theirs" if mark.side == "ours" else "ours", name, path)

    def _defines(self, side: str, name: str, path: str) -> bool:
        """Whether a file other than ``path`` that ``side`` changed defines the function or class ``name``."""
        word, number = name.encode(), self._meeting.number(side)
        pattern = re.compile(
            rb"\b%b\s*\([^;{}]{0,2000}\)[^;{}()]{0,80}\{|^\s*(?:def|class) %b\b" % (word, word), re.MULTILINE
        )
        return any(pattern.search(data) for data in self._of_language(number, path))

    def given_up(self, side: str) -> set[str]:
        """The names that the side other than ``side`` uses less than the base: callers have to follow it."""
        meeting = self._meeting
        if side not in ("ours", "theirs"):
            return set()
        number = meeting.number("theirs" if side == "ours" else "ours")
        if number not in self._names:
            before, after = Counter[str](), Counter[str]()
            for name, data in self._changed(number).items():
                old = meeting.bases[0].read(meeting.versions[number].moved.get(name, name)) or b""
                before.update(_WORD.findall(old.decode("utf-8", "replace")))
                after.update(_WORD.findall(data.decode("utf-8", "replace")))
            self._names[number] = {word for word, count in before.items() if after[word] < count}
        return self._names[number]

    def _of_language(self, number: int, path: str) -> Iterator[bytes]:
        """The files of a side's version that it changed, of the language of ``path``, that one aside."""
        for name, data in self._changed(number).items():
            if language(name) == language(path) and name != self._meeting.real(number, path):
                yield data

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
