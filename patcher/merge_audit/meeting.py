"""The versions that a merge brings together, under the paths that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from patcher.merge_audit.finding import Finding
from patcher.merge_audit.sides import Version, follow_renames


class Meeting:
    """``bases``, the two sides and the merge. A file that moved has the path that it has in the base.

    ``versions`` are all of them in that order; ``findings`` is what the paths alone say.
    """

    def __init__(self, bases: Sequence[Version], ours: Version, theirs: Version, merged: Version) -> None:
        self.bases, self.ours, self.theirs, self.merged = tuple(bases), ours, theirs, merged
        self.versions = (*self.bases, ours, theirs, merged)
        self.findings = list(self._follow())
        self._paths: list[dict[str, str]] = [
            {version.moved.get(path, path): path for path in version.contents} for version in self.versions
        ]

    def _follow(self) -> Iterator[Finding]:
        """Let the sides and the merge say what moved; a file that the merge has under two names is found."""
        for side in (self.ours, self.theirs):
            side.moved = follow_renames(self.bases[0], side)
        for path, old in {**self.theirs.moved, **self.ours.moved}.items():
            if path in self.merged.contents and old not in self.merged.contents:
                self.merged.moved.setdefault(path, old)
        taken: dict[str, str] = {}
        for path, old in sorted(self.merged.moved.items()):
            if old in taken:
                del self.merged.moved[path]
                said = f"each side renamed {old}, and the merge has it as {taken[old]}, too"
                whose = "ours" if path in self.ours.moved else "theirs"
                yield Finding("merge-duplicated", path, None, "file", (), path, whose, None, said)
            taken.setdefault(old, path)

    def number(self, side: str) -> int:
        """Which of ``versions`` is ``ours``, ``theirs`` or ``merged``; the first base for all else."""
        after = {"ours": 0, "theirs": 1, "merged": 2}
        return len(self.bases) + after[side] if side in after else 0

    def paths(self) -> list[str]:
        """The shared path of every file that any version has."""
        return sorted(set().union(*self._paths))

    def contents(self, path: str) -> list[str | None]:
        """What the shared ``path`` is in each version, equal for equal contents; None where it isn't."""
        return [
            version.contents.get(paths.get(path, ""))
            for version, paths in zip(self.versions, self._paths, strict=True)
        ]

    def real(self, number: int, path: str) -> str:
        """What version ``number`` calls the shared ``path``."""
        return self._paths[number].get(path, path)

    def read(self, number: int, path: str) -> bytes | None:
        """The shared ``path`` in version ``number``."""
        return self.versions[number].read(self.real(number, path))

    def has(self, number: int, path: str) -> bool:
        """Whether version ``number`` has the shared ``path``."""
        return self.real(number, path) in self.versions[number].contents

    def programs(self, path: str) -> list[bool] | None:
        """Whether ``path`` may be run in each version; None where one lacks it, or is a folder."""
        numbers = range(len(self.versions))
        if any(one.commit is None for one in self.versions) or not all(self.has(at, path) for at in numbers):
            return None
        return [self.real(at, path) in self.versions[at].programs for at in numbers]
