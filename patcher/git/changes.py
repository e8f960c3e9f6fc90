"""A branch's own commits: read one by one, what each changed, and written anew on another base."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.git.process import complete, line, run
from patcher.git.repository import entries, git_dir, holds, resolve

_WHO = re.compile(rb"(?P<name>.*?) ?<(?P<email>[^<>\n]*)> (?P<date>\d+ [+-]\d{4})")


@dataclass(frozen=True)
class FileVersion:
    """A file, a link or a submodule as a commit has it."""

    mode: str
    blob: str

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file, whose lines can be merged."""
        return self.mode.startswith("100")


@dataclass(frozen=True)
class Written:
    """One commit as it is written: ``author`` is name, email, and the date as git takes it."""

    id: str
    parents: tuple[str, ...]
    author: tuple[str, str, str]
    message: bytes
    is_signed: bool = False

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.decode("utf-8", "replace").strip().partition("\n")[0]


def merge_base(repo: Path, one: str, other: str) -> str | None:
    """The newest commit that both have; None where they have none in common."""
    status, out, _ = complete(
        repo, "merge-base", "--end-of-options", resolve(repo, one), resolve(repo, other)
    )
    return out.decode("ascii").strip() if status == 0 else None


def branch_commits(repo: Path, base: str, tip: str) -> list[Written]:
    """The commits of ``tip`` behind ``base`` along the first parents, oldest first.

    Raises :class:`UsageError` where ``base`` is not among the first parents of ``tip``.
    """
    base = resolve(repo, base)
    found: list[Written] = []
    at = resolve(repo, tip)
    while at != base:
        one = read_commit(repo, at)
        found.append(one)
        if not one.parents:
            raise UsageError(
                f"{repo}: looked for {base[:12]} among the first parents of {tip[:12]}, found none",
                hint="name a --base that the branch grew from: 'git log --first-parent' shows its commits",
            )
        at = one.parents[0]
    return found[::-1]


def read_commit(repo: Path, commit: str) -> Written:
    """The commit object ``commit``. Raises :class:`UsageError` where its author can't be read."""
    data = run(repo, "cat-file", "commit", resolve(repo, commit))
    head, _, message = data.partition(b"\n\n")
    fields = [field.partition(b" ")[::2] for field in head.split(b"\n")]
    told = dict(reversed(fields))  # the first of each counts
    author = _WHO.fullmatch(told.get(b"author", b""))
    if author is None:
        said = told.get(b"author", b"none").decode("utf-8", "replace")
        raise UsageError(
            f"{repo}: commit {commit[:12]}: looked for 'author NAME <EMAIL> SECONDS ZONE', found '{said}'",
            hint="'git rebase -i' and 'git commit --amend --reset-author' at that commit write it anew",
        )
    name, email, date, text = (
        _as_utf8(part, told.get(b"encoding")) for part in (*author.group("name", "email", "date"), message)
    )
    who = [part.decode("utf-8", "surrogateescape") for part in (name, email, date)]
    parents = tuple(value.decode("ascii") for key, value in fields if key == b"parent")
    is_signed = b"gpgsig" in told or b"gpgsig-sha256" in told
    return Written(resolve(repo, commit), parents, (who[0], who[1], who[2]), text, is_signed)


def _as_utf8(text: bytes, encoding: bytes | None) -> bytes:
    """What a commit says, in the encoding that we write; as it is where it isn't what it says that it is."""
    try:
        return text.decode((encoding or b"utf-8").decode("ascii")).encode()
    except (LookupError, UnicodeError):
        return text


def changed(repo: Path, old: str, new: str) -> dict[str, tuple[FileVersion | None, FileVersion | None]]:
    """Path -> what it was in the commit ``old`` and what it is in ``new``, where that differs."""
    out = run(
        repo, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff",
        "--no-textconv",         "--end-of-options", resolve(repo, old), resolve(repo, new),
    )  # fmt: skip
    fields = out.split(b"\0")
    found = {}
    for facts, path in zip(fields[::2], fields[1::2], strict=False):
        before_mode, after_mode, before, after, _ = facts.decode("ascii").lstrip(":").split(" ")
        found[path.decode("utf-8", "surrogateescape")] = (
            _version(before_mode, before),
            _version(after_mode, after),
        )
    return found


def _version(mode: str, blob: str) -> FileVersion | None:
    return None if mode == "000000" else FileVersion(mode, blob)


def write_blob(repo: Path, data: bytes) -> str:
    """Keep ``data`` as an object of the repository; its name."""
    return run(repo, "hash-object", "-w", "--no-filters", "--stdin", stdin=data).decode("ascii").strip()


def require_identity(repo: Path) -> None:
    """Raise :class:`UsageError` where git doesn't know who commits."""
    status, _, _ = complete(repo, "var", "GIT_COMMITTER_IDENT")
    if status != 0:
        raise UsageError(
            f"{repo}: git doesn't know who commits",
            hint="git config user.name and git config user.email tell it",
        )


def write_commit(
    repo: Path,
    *,
    on: str,
    changes: Mapping[str, FileVersion | None],
    message: bytes,
    parents: Sequence[str] | None = None,
    author: tuple[str, str, str] | None = None,
) -> str:
    """A commit with the files of ``on`` and ``changes`` (None deletes); no ref, index or file is touched.

    ``parents`` is ``on`` where left out; the committer is the user, and the author where none is given.
    """
    on = resolve(repo, on)
    nothing = "0" * len(on)
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        run(repo, "read-tree", on, env=index)
        lines = [
            f"{version.mode if version else '0'} {version.blob if version else nothing}\t".encode("ascii")
            + os.fsencode(path)
            for path, version in changes.items()
        ]
        if lines:
            run(repo, "update-index", "-z", "--index-info", env=index, stdin=b"\0".join(lines) + b"\0")
        tree = line(repo, "write-tree", env=index)
    who = {}
    if author is not None:
        keys = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE")
        who = dict(zip(keys, (author[0], author[1], f"@{author[2]}"), strict=True))
    options = [part for parent in (parents if parents is not None else [on]) for part in ("-p", parent)]
    return line(repo, "commit-tree", tree, *options, env=who, stdin=message)


def unmerged(repo: Path) -> dict[str, dict[int, FileVersion]]:
    """Path from the top -> stage (1 base, 2 ours, 3 theirs) -> what it is there, of a merge not ended."""
    found: dict[str, dict[int, FileVersion]] = {}
    for entry in run(repo, "ls-files", "-u", "-z", "--full-name").split(b"\0"):
        facts, _, path = entry.partition(b"\t")
        if path:
            mode, blob, stage = facts.decode("ascii").split(" ")
            name = path.decode("utf-8", "surrogateescape")
            found.setdefault(name, {})[int(stage)] = FileVersion(mode, blob)
    return found


_OPERATIONS = (
    ("rebase-merge", "rebase"),
    ("rebase-apply/applying", "am"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
)


def operation(repo: Path) -> str | None:
    """What git is in the middle of, in the name of its command (``merge``, ``am``); None: of nothing."""
    home = git_dir(repo)
    return next((name for file, name in _OPERATIONS if home is not None and (home / file).exists()), None)


def switch(repo: Path, old: str, new: str) -> None:
    """Bring index and work tree, which are those of ``old``, to the commit ``new``; refs stay.

    Raises :class:`UsageError`, nothing changed, where a file with other changes is in the way.
    """
    complete(
        repo, "update-index", "-q", "--refresh"
    )  # times alone may differ; what else does, read-tree says
    run(repo, "read-tree", "-m", "-u", resolve(repo, old), resolve(repo, new))


def restore(repo: Path, commit: str) -> None:
    """Bring index and work tree to ``commit`` whatever they are.

    Raises :class:`UsageError`, nothing changed, where a file that git doesn't know is in the way.
    """
    known = {os.fsdecode(name) for name in run(repo, "ls-files", "-z", "--full-name").split(b"\0") if name}
    for path, (_, blob) in entries(repo, resolve(repo, commit)).items():
        place = repo / path
        if path not in known and place.is_file() and not holds(place, blob):
            raise UsageError(
                f"{place}: git doesn't know this file, and {commit[:12]} has one of that name",
                hint="move it away, then once more",
            )
    run(repo, "read-tree", "--reset", "-u", resolve(repo, commit))


def stage(repo: Path, changes: Mapping[str, FileVersion | None]) -> None:
    """Put ``changes`` into the index (None deletes), as merged; the work tree stays."""
    lines = []
    for path, version in changes.items():
        lines.append(b"0 " + b"0" * 40 + b"\t" + os.fsencode(path))  # the stages of a merge go with it
        if version is not None:
            lines.append(f"{version.mode} {version.blob}\t".encode("ascii") + os.fsencode(path))
    if lines:
        run(repo, "update-index", "-z", "--index-info", stdin=b"\0".join(lines) + b"\0")


def branch(repo: Path) -> str | None:
    """The full name of the branch that is checked out; None where HEAD is detached."""
    status, out, _ = complete(repo, "symbolic-ref", "-q", "HEAD")
    return out.decode("utf-8", "surrogateescape").strip() if status == 0 else None


def point(repo: Path, ref: str, commit: str, *, reason: str, was: str | None = None) -> None:
    """Let ``ref`` name ``commit``; where ``was`` is given it has to name that until now."""
    run(repo, "update-ref", "-m", reason, ref, commit, *([was] if was is not None else []))


def check_out(repo: Path, ref: str) -> None:
    """Let HEAD be the branch ``ref`` (its full name); index and work tree stay."""
    run(repo, "symbolic-ref", "-m", "q8a8-patch move", "HEAD", ref)


def detach(repo: Path, commit: str) -> None:
    """Let HEAD be ``commit`` itself, on no branch; index and work tree stay."""
    run(repo, "update-ref", "--no-deref", "-m", "q8a8-patch move", "HEAD", resolve(repo, commit))


def has_ref(repo: Path, ref: str) -> bool:
    """Whether there is a ref of that full name."""
    status, _, _ = complete(repo, "show-ref", "--verify", "--quiet", "--", ref)
    return status == 0


def require_branch_name(repo: Path, name: str) -> None:
    """Raise :class:`UsageError` where git allows no branch of that name."""
    status, _, _ = complete(repo, "check-ref-format", f"refs/heads/{name}")
    if status != 0 or name.startswith("-"):
        raise UsageError(
            f"{name}: looked for the name of a branch, found one that git doesn't allow",
            hint="take letters, digits and dashes, such as q8a8-v0.5.0",
        )


def stage_sides(
    repo: Path, sides: Mapping[str, tuple[FileVersion | None, FileVersion | None, FileVersion | None]]
) -> None:
    """Put three stages (base, ours, theirs) of each path into the index, as a merge that stopped does."""
    lines = []
    for path, versions in sides.items():
        lines.append(b"0 " + b"0" * 40 + b"\t" + os.fsencode(path))
        for number, version in enumerate(versions, 1):
            if version is not None:
                lines.append(f"{version.mode} {version.blob} {number}\t".encode("ascii") + os.fsencode(path))
    run(repo, "update-index", "-z", "--index-info", stdin=b"\0".join(lines) + b"\0")


def commit_index(repo: Path, *, on: str, message: bytes, author: tuple[str, str, str]) -> str:
    """What the index holds, as a commit on ``on`` by ``author``; no ref is touched."""
    keys = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE")
    who = dict(zip(keys, (author[0], author[1], f"@{author[2]}"), strict=True))
    return line(
        repo, "commit-tree", line(repo, "write-tree"), "-p", resolve(repo, on), env=who, stdin=message
    )


def check_out_paths(repo: Path, paths: Sequence[str]) -> None:
    """Write the index's version of ``paths`` into the work tree; one that it lacks is removed there."""
    if not paths:
        return
    there = run(repo, "ls-files", "-z", "--full-name", "--", *(f":(top,literal){path}" for path in paths))
    known = {os.fsdecode(name) for name in there.split(b"\0") if name}
    names = b"\0".join(os.fsencode(path) for path in sorted(known))
    run(repo, "checkout-index", "--force", "-z", "--stdin", stdin=names)
    for path in paths:
        if path not in known:
            (repo / path).unlink(missing_ok=True)


def stage_files(repo: Path, paths: Sequence[str]) -> None:
    """``git add`` of ``paths`` as they are in the work tree."""
    if paths:
        names = b"\0".join(os.fsencode(path) for path in paths)
        run(
            repo,
            "add",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            env={"GIT_LITERAL_PATHSPECS": "1"},
            stdin=names,
        )
