"""A whole merge: every file that either side changed, what of it is missing, doubled, back or elsewhere."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from patcher.base.machine import processors
from patcher.base.progress import SILENT, Reporter
from patcher.merge_audit import twins, whole_files
from patcher.merge_audit.comparison import compare
from patcher.merge_audit.finding import Finding
from patcher.merge_audit.grouping import by_lost_owner, of_spare, together
from patcher.merge_audit.item import STRICT, Key, language
from patcher.merge_audit.mark import Compared, Mark, finding
from patcher.merge_audit.sides import Version, follow_renames, is_text, unread_for

_FEW = 8  # files that are compared sooner than a second process starts
_WORD = re.compile(r"[A-Za-z_]\w*")
_SEARCHED = 200  # files in which a function is looked for that left its file
_MARKER = re.compile(rb"^(?:<<<<<<<|>>>>>>>) ", re.MULTILINE)


@dataclass
class Result:
    """What was found, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    changed: int = 0  # files that differ between any two of the versions
    read: int = 0  # of them, those that were read item by item
    own: int = 0  # items that the merge has and no side


class Auditing:
    """``bases``, the two sides and the merge, by paths that all of them share."""

    def __init__(
        self,
        bases: Sequence[Version],
        ours: Version,
        theirs: Version,
        merged: Version,
        reporter: Reporter = SILENT,
    ) -> None:
        self.bases, self.ours, self.theirs, self.merged = tuple(bases), ours, theirs, merged
        self.reporter = reporter
        self.result = Result()
        self._texts: dict[int, dict[str, bytes]] = {}
        self._names: dict[int, set[str]] = {}
        self._share_paths()

    @property
    def versions(self) -> tuple[Version, ...]:
        """All of them: the bases, ours, theirs, the merge."""
        return (*self.bases, self.ours, self.theirs, self.merged)

    def run(self) -> Result:
        """Compare all files; findings are in the order of files and lines."""
        tasks = list(self._tasks())
        self.result.read = len(tasks)
        compared = self._compared(tasks)
        self._across(compared)
        for one in compared:
            self.result.own += one.own
            self.result.findings += self._of_file(one)
        self.result.findings += twins.broken(self)
        self.result.findings = sorted(
            map(self._placed, self.result.findings),
            key=lambda one: (one.file, one.line or 0, one.rule, one.text),
        )
        return self.result

    # -- which files

    def _share_paths(self) -> None:
        base = self.bases[0]
        for side in (self.ours, self.theirs):
            side.moved = follow_renames(base, side)
        for path, old in {**self.theirs.moved, **self.ours.moved}.items():
            if path in self.merged.contents and old not in self.merged.contents:
                self.merged.moved.setdefault(path, old)
        taken: dict[str, str] = {}
        for path, old in sorted(self.merged.moved.items()):
            if old in taken:
                del self.merged.moved[path]
                said = f"each side renamed {old}, and the merge has it as {taken[old]}, too"
                whose = "ours" if path in self.ours.moved else "theirs"
                self._say(Finding("merge-duplicated", path, None, "file", (), path, whose, None, said))
            taken.setdefault(old, path)
        self._paths: list[dict[str, str]] = [
            {version.moved.get(path, path): path for path in version.contents} for version in self.versions
        ]

    def real(self, number: int, path: str) -> str:
        """What version ``number`` calls the shared ``path``."""
        return self._paths[number].get(path, path)

    def read(self, number: int, path: str) -> bytes | None:
        """The shared ``path`` in version ``number``."""
        return self.versions[number].read(self.real(number, path))

    def _tasks(self) -> Iterator[tuple[str, str, list[bytes | None]]]:
        everywhere: set[str] = set()
        for paths in self._paths:
            everywhere |= set(paths)
        for path in sorted(everywhere):
            has = [
                version.contents.get(paths.get(path, ""))
                for version, paths in zip(self.versions, self._paths, strict=True)
            ]
            *bases, ours, theirs, merged = has
            if ours == theirs == merged and merged in bases:
                self._as_a_program(path)
                continue
            self.result.changed += 1
            if (
                (ours in bases and merged == theirs)
                or (theirs in bases and merged == ours)
                or (ours == theirs == merged)
            ):
                continue
            self._as_a_program(path)
            known = language(self.real(len(bases) + 2, path))
            data = [self.read(number, path) for number in range(len(has))]
            unread = any(blob is not None and one is None for blob, one in zip(has, data, strict=True))
            if unread or not all(is_text(one) for one in data if one is not None):
                if not self._say(whole_files.undone(path, bases, ours, theirs, merged)):
                    why = [unread_for(one, self.real(at, path)) for at, one in enumerate(self.versions)]
                    what = [said for said in why if said]
                    self._say(whole_files.unread(path, bases, ours, theirs, merged, *what[:1]))
                continue
            if known is None and self._say(whole_files.undone(path, bases, ours, theirs, merged)):
                continue
            known = known or "text"
            if data[-1] is not None and _MARKER.search(data[-1]):
                line = data[-1].count(b"\n", 0, _MARKER.search(data[-1]).start()) + 1  # type: ignore[union-attr]
                said = "marks of a conflict that was not resolved"
                self.result.findings.append(
                    Finding("merge-unresolved", path, line, "file", (), path, "both", None, said)
                )
            yield path, known, data

    def _as_a_program(self, path: str) -> None:
        if any(version.commit is None for version in self.versions) or any(
            self.real(number, path) not in version.contents for number, version in enumerate(self.versions)
        ):
            return
        is_program = [self.real(number, path) in one.programs for number, one in enumerate(self.versions)]
        *bases, ours, theirs, merged = is_program
        self._say(whole_files.forbidden(path, bases, ours, theirs, merged))

    def _say(self, found: Finding | None) -> bool:
        self.result.findings += [found] if found is not None else []
        return found is not None

    def _compared(self, tasks: list[tuple[str, str, list[bytes | None]]]) -> list[Compared]:
        count = min(processors(), len(tasks))
        found: list[Compared] = []
        with self.reporter.step("Comparing", total=len(tasks)) as step:
            if len(tasks) <= _FEW or count <= 1:
                for number, task in enumerate(tasks):
                    step.update(done=number, detail=task[0])
                    found.append(compare(task))
                return found
            # the big files first, so that all workers end together
            order = sorted(
                range(len(tasks)), key=lambda number: -sum(len(one or b"") for one in tasks[number][2])
            )
            with ProcessPoolExecutor(count) as pool:
                made = {}
                for number, one in zip(
                    order, pool.map(compare, [tasks[number] for number in order]), strict=True
                ):
                    made[number] = one
                    step.update(done=len(made), detail=one.path)
            return [made[number] for number in range(len(tasks))]

    # -- from file to file

    def _across(self, compared: list[Compared]) -> None:
        """What is missing in one file and more in another went there: with its owner, or without."""
        spare: dict[tuple[str, str], list[tuple[Compared, Mark]]] = defaultdict(list)
        for one in compared:
            for mark in one.spare:
                spare[mark.key.construct, mark.key.text].append((one, mark))
        left: set[Key] = set().union(*(one.left for one in compared))
        grown = {key: number for one in compared for key, number in one.grown.items()}
        for one in compared:
            # what a side took to another file, and the other has more of where it was
            for mark in one.spare:
                if not mark.counts.base:
                    mark.number = max(0, mark.number - grown.get(mark.key, 0))
            one.spare = [mark for mark in one.spare if mark.number]
            # what a side took to another file, and the other removed where it was
            one.lost = [mark for mark in one.lost if mark.key not in left or mark.counts.base]
            for mark in one.lost:
                for there, other in spare.get((mark.key.construct, mark.key.text), ()):
                    number = min(mark.number, other.number)
                    if there is one or not number or other.is_double:
                        continue
                    mark.number -= number
                    other.number -= number
                    with_owner = not mark.owned[3] or mark.key.owner[-1:] == other.key.owner[-1:]
                    if not with_owner and mark.key.construct in STRICT:
                        where = " > ".join((there.path, *other.key.owner))
                        one.findings.append(finding("merge-moved", one.path, mark, f"stands in {where}"))
            one.lost = [mark for mark in one.lost if mark.number]
        for one in compared:
            one.spare = [mark for mark in one.spare if mark.number]

    # -- from marks to findings

    def _of_file(self, one: Compared) -> list[Finding]:
        found = [*one.findings]
        lost = []
        for mark in one.lost:
            if mark.form is not None and not mark.form.number:
                continue  # what stands in its place came from elsewhere, with its owner
            if mark.removed_by and not self._went_elsewhere(mark, one.path):
                said = f"{mark.removed_by.upper()} removed what it stands in ({mark.gone or one.path})"
                found.append(finding("merge-superseded", one.path, mark, said))
            elif mark.form is not None:
                if mark.without <= self._given_up(mark.side):
                    continue
                without = " ".join(sorted(mark.without)[:6])
                said = f"the merge has '{mark.form.key.text[:100]}' instead, without {without}"
                rule = "merge-own" if self._left_alone(mark.side, one.path) else "merge-altered"
                found.append(finding(rule, one.path, mark, said, line=mark.form.near))
            else:
                lost.append(mark)
        one.lost = lost
        if self.real(len(self.bases) + 2, one.path) not in self.merged.contents and one.lost:
            first = one.lost[0]
            whole = replace(
                first, key=Key((), "file", one.path), number=sum(mark.number for mark in one.lost)
            )
            return [*together(found), finding("merge-lost", one.path, whole, "isn't in the merge")]
        for head, marks in by_lost_owner(one.lost):
            rule = "merge-lost" if head.key.construct in STRICT | {"value"} else "merge-line-lost"
            number = sum(mark.number for mark in marks)
            found.append(finding(rule, one.path, replace(head, number=number), "isn't in the merge"))
        return together([*found, *self._returned(one.path, list(of_spare(one)))])

    def _returned(self, path: str, found: list[Finding]) -> list[Finding]:
        """``found``, and a file that a side removed as one of them: all that it holds is back with it."""
        back = [one for one in found if one.rule in ("merge-revived", "merge-line-revived")]
        numbers = range(len(self.bases), len(self.bases) + 2)
        without = [
            number for number in numbers if self.real(number, path) not in self.versions[number].contents
        ]
        if not back or not without:
            return found
        said = f"{'OURS' if without[0] == numbers[0] else 'THEIRS'} removed it, and it is back"
        first = replace(back[0], rule="merge-revived", line=None, construct="file", owner=(), text=path)
        whole = replace(first, detail=said, count=sum(one.count for one in back))
        return [*(one for one in found if one not in back), whole]

    def _left_alone(self, side: str, path: str) -> bool:
        """Whether the other side has done nothing to the file: what became of it is the merge's own doing."""
        if side not in ("ours", "theirs"):
            return False
        other = len(self.bases) + (side == "ours")
        now = self.versions[other].contents.get(self.real(other, path))
        return any(
            base.contents.get(self.real(number, path)) == now for number, base in enumerate(self.bases)
        )

    def _went_elsewhere(self, mark: Mark, path: str) -> bool:
        """Whether the side that removed the owner of ``mark`` here defines it in another file."""
        name = (mark.key.owner[:1] or ("",))[0].rpartition("::")[2]
        if not name.isidentifier() or mark.gone != mark.key.owner[0]:
            return False
        word, number = name.encode(), len(self.bases) + (mark.removed_by == "theirs")
        pattern = re.compile(
            rb"\b%b\s*\([^;{}]{0,2000}\)[^;{}()]{0,80}\{|^\s*(?:def|class) %b\b" % (word, word), re.MULTILINE
        )
        return any(pattern.search(data) for data in self._changed_by(number, path))

    def _changed_by(self, number: int, path: str) -> Iterator[bytes]:
        """The files of a side's version that it changed, of the language of ``path``; a bounded number."""
        for name, data in self._changed_texts(number).items():
            if language(name) == language(path) and name != self.real(number, path):
                yield data

    def _changed_texts(self, number: int) -> dict[str, bytes]:
        if number not in self._texts:
            side, base = self.versions[number], self.bases[0]
            changed = [
                name
                for name, content in sorted(side.contents.items())
                if base.contents.get(side.moved.get(name, name)) != content and language(name)
            ]
            self._texts[number] = {name: side.read(name) or b"" for name in changed[:_SEARCHED]}
        return self._texts[number]

    def _given_up(self, side: str) -> set[str]:
        """The names that the other side uses less than the base: what it renamed, callers have to follow."""
        number = len(self.bases) + (side == "ours")
        if side not in ("ours", "theirs"):
            return set()
        if number not in self._names:
            before, after = Counter[str](), Counter[str]()
            for name, data in self._changed_texts(number).items():
                old = self.bases[0].read(self.versions[number].moved.get(name, name)) or b""
                before.update(_WORD.findall(old.decode("utf-8", "replace")))
                after.update(_WORD.findall(data.decode("utf-8", "replace")))
            self._names[number] = {word for word, count in before.items() if after[word] < count}
        return self._names[number]

    def _placed(self, one: Finding) -> Finding:
        """Its files as their own versions call them."""
        bases = len(self.bases)
        number = {"ours": bases, "both": bases, "theirs": bases + 1}.get(one.side, 0)
        was = (self.real(number, one.was[0]), one.was[1]) if one.was is not None else None
        return replace(one, file=self.real(bases + 2, one.file), was=was)
