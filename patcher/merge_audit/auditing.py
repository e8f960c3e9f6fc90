"""A whole merge: every file that either side changed, what of it is missing, doubled, back or elsewhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
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
from patcher.merge_audit.meeting import Meeting
from patcher.merge_audit.side_changes import SideChanges
from patcher.merge_audit.sides import is_text, unread_for

_FEW = 8  # files that are compared sooner than a second process starts
_MARKER = re.compile(rb"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)


@dataclass
class Result:
    """What was found, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    changed: int = 0  # files that differ between any two of the versions
    read: int = 0  # of them, those that were read item by item
    own: int = 0  # items that the merge has and no side


class Auditing:
    """Of the versions of ``meeting``."""

    def __init__(self, meeting: Meeting, reporter: Reporter = SILENT) -> None:
        self.meeting, self.reporter = meeting, reporter
        self.result = Result(list(meeting.findings))
        self._changes = SideChanges(meeting)

    def run(self) -> Result:
        """Compare all files; findings are in the order of files and lines."""
        tasks = list(self._tasks())
        self.result.read = len(tasks)
        compared = self._compared(tasks)
        self._across(compared)
        for one in compared:
            self.result.own += one.own
            self.result.findings += self._of_file(one)
        self.result.findings += twins.broken(self.meeting)
        self.result.findings = sorted(
            map(self._placed, self.result.findings),
            key=lambda one: (one.file, one.line or 0, one.rule, one.text),
        )
        return self.result

    # -- which files

    def _tasks(self) -> Iterator[tuple[str, str, list[bytes | None]]]:
        meeting = self.meeting
        for path in meeting.paths():
            has = meeting.contents(path)
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
            known = language(meeting.real(len(bases) + 2, path))
            data = [meeting.read(number, path) for number in range(len(has))]
            unread = any(blob is not None and one is None for blob, one in zip(has, data, strict=True))
            if unread or not all(is_text(one) for one in data if one is not None):
                if not self._say(whole_files.undone(path, bases, ours, theirs, merged)):
                    why = [unread_for(one, meeting.real(at, path)) for at, one in enumerate(meeting.versions)]
                    what = [said for said in why if said]
                    self._say(whole_files.unread(path, bases, ours, theirs, merged, *what[:1]))
                continue
            if known is None and self._say(whole_files.undone(path, bases, ours, theirs, merged)):
                continue
            known = known or "text"
            marks = [[mark.start() for mark in _MARKER.finditer(one or b"")] for one in data]
            if len(marks[-1]) > max(map(len, marks[-3:-1])):  # a text about conflicts has them on its side
                line = (data[-1] or b"").count(b"\n", 0, marks[-1][0]) + 1
                said = "marks of a conflict that was not resolved"
                self.result.findings.append(
                    Finding("merge-unresolved", path, line, "file", (), path, "both", None, said)
                )
            yield path, known, data

    def _as_a_program(self, path: str) -> None:
        programs = self.meeting.programs(path)
        if programs is not None:
            *bases, ours, theirs, merged = programs
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
        if one.is_bare:  # an empty file, or comments alone: it is there, or it isn't
            *bases, ours, theirs, merged = self.meeting.contents(one.path)
            undone = whole_files.undone(one.path, bases, ours, theirs, merged)
            return [undone] if undone is not None and undone.rule != "merge-file-kept" else []
        found = [*one.findings]
        for mark, said in one.elsewhere:
            if not self._changes.came_from_elsewhere(mark, one.path):
                found.append(finding("merge-moved", one.path, mark, said))
        lost = []
        for mark in one.lost:
            if mark.form is not None and not mark.form.number:
                continue  # what stands in its place came from elsewhere, with its owner
            if mark.removed_by and not self._changes.went_elsewhere(mark, one.path):
                said = f"{mark.removed_by.upper()} removed what it stands in ({mark.gone or one.path})"
                found.append(finding("merge-superseded", one.path, mark, said))
            elif mark.form is not None:
                if mark.without <= self._changes.given_up(mark.side):
                    continue
                without = " ".join(sorted(mark.without)[:6])
                said = f"the merge has '{mark.form.key.text[:100]}' instead, without {without}"
                rule = "merge-own" if self._changes.left_alone(mark.side, one.path) else "merge-altered"
                found.append(finding(rule, one.path, mark, said, line=mark.form.near))
            else:
                lost.append(mark)
        one.lost = lost
        if one.lost and not self.meeting.has(self.meeting.number("merged"), one.path):
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
        meeting = self.meeting
        without = [side for side in ("ours", "theirs") if not meeting.has(meeting.number(side), path)]
        if not back or not without:
            return found
        said = f"{without[0].upper()} removed it, and it is back"
        first = replace(back[0], rule="merge-revived", line=None, construct="file", owner=(), text=path)
        whole = replace(first, detail=said, count=sum(one.count for one in back))
        return [*(one for one in found if one not in back), whole]

    def _placed(self, one: Finding) -> Finding:
        """Its files as their own versions call them."""
        meeting = self.meeting
        number = meeting.number("ours" if one.side == "both" else one.side)
        was = (meeting.real(number, one.was[0]), one.was[1]) if one.was is not None else None
        return replace(one, file=meeting.real(meeting.number("merged"), one.file), was=was)
