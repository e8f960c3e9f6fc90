"""A file by its content as a whole: what one side alone did to it must be so in the merge."""

from __future__ import annotations

from collections.abc import Sequence

from patcher.merge_audit.finding import Finding

_Content = str | None  # equal for equal contents; None where the file isn't there


def _finding(rule: str, path: str, side: str, said: str) -> Finding:
    return Finding(rule, path, None, "file", (), path, side, None, said)


def undone(
    path: str, bases: Sequence[_Content], ours: _Content, theirs: _Content, merged: _Content
) -> Finding | None:
    """What a side alone did to the file and the merge undoes."""
    for side, now, other in (("theirs", theirs, ours), ("ours", ours, theirs)):
        if other not in bases or now in bases or merged == now:
            continue
        if merged is None:
            return _finding(
                "merge-lost", path, side, f"{side.upper()} alone changed it, and it isn't in the merge"
            )
        if now is None:
            return _finding("merge-revived", path, side, f"{side.upper()} removed it, and it is back")
        if merged in bases:
            said = f"{side.upper()} alone changed it; the merge has it as before"
            return _finding("merge-file-kept", path, side, said)
    if merged is None and ours == theirs and ours in bases:
        return _finding("merge-lost", path, "base", "both sides kept it, and it isn't in the merge")
    return None


def unread(
    path: str,
    bases: Sequence[_Content],
    ours: _Content,
    theirs: _Content,
    merged: _Content,
    what: str = "it is no text, or too long to be read",
) -> Finding | None:
    """What is no text, or too long, and is in the merge as the sides don't explain; ``what`` says why."""
    if merged in (ours, theirs):
        side, other, left = ("OURS", "theirs", theirs) if merged == ours else ("THEIRS", "ours", ours)
        if left in bases:
            return None
        return _finding(
            "merge-unread", path, other, f"{what}; both changed it, and the merge has that of {side}"
        )
    if merged is None:
        return _finding("merge-superseded", path, "both", "one side removed it, and so did the merge")
    return _finding("merge-unread", path, "both", f"{what}; the merge has that of neither side")


def forbidden(path: str, bases: Sequence[bool], ours: bool, theirs: bool, merged: bool) -> Finding | None:
    """A side's permission to run the file, or its end, that the merge lacks."""
    for side, now, other in (("ours", ours, theirs), ("theirs", theirs, ours)):
        if other in bases and now not in bases and merged != now:
            said = f"{side.upper()} alone made it {'a' if now else 'no'} program"
            return _finding("merge-file-kept", path, side, said)
    return None
