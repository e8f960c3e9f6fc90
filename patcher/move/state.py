"""Where a move stands, on the disk until it is over: a file in the folder of the tree's records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from patcher.base.errors import UsageError
from patcher.engine import records_folder, seal
from patcher.engine.tree import WorkTree

FILE = "move"
_LARGEST = 8 << 20


@dataclass(frozen=True)
class MoveState:
    """What is left to do, and the way back. Commits are full hashes."""

    old: str  # HEAD as it was
    branch: str | None  # that was checked out; None: HEAD was detached
    onto: str | None  # the new branch that was asked for
    base: str  # the new release
    tip: str  # how far the result has come
    rest: list[
        tuple[str, str]
    ]  # the user's commits that are still to be done: (before, after), without the type
    carried: str  # how the old state had the type: "committed", "uncommitted" or ""
    parents: list[str] = field(default_factory=list)  # of the one commit, where the result is a merge
    stopped: bool = False  # the first of ``rest`` lies in the index, for the user to settle

    def stopped_at(self, number: int, tip: str) -> MoveState:
        """Stopped at the commit ``number`` of the rest, with what was done before at ``tip``."""
        return replace(self, rest=self.rest[number:], tip=tip, stopped=True)

    def past_stop(self, tip: str) -> MoveState:
        """With the commit that it stopped at done, as ``tip``."""
        return replace(self, rest=self.rest[1:], tip=tip, stopped=False)

    def ending(self, tip: str) -> MoveState:
        """With all commits done, the type's among them: what is left is to check ``tip`` out."""
        done = "" if self.carried == "committed" else self.carried
        return replace(self, rest=[], tip=tip, carried=done, stopped=False)


def read(tree: WorkTree) -> MoveState | None:
    """The move that was begun; None where there is none.

    Raises :class:`UsageError` for a file that this user's q8a8-patch didn't write: it says what to check out.
    """
    place = records_folder.place_of(tree.root)
    folder = place.open(make=False)
    if folder is None:
        return None
    with folder:
        data = folder.read(FILE, _LARGEST) if folder.file_type(FILE) is not None else None
    if data is None:
        return None
    said, _, body = data.partition(b"\n")
    if not seal.is_ours(body, said.decode("ascii", "replace")):
        raise UsageError(
            f"{place.path / FILE}: of a move that another user or machine began, so not believed",
            hint="remove that file, and go back with git",
        )
    document: dict[str, Any] = json.loads(body)
    document["rest"] = [(one, other) for one, other in document["rest"]]
    return MoveState(**document)


def write(tree: WorkTree, state: MoveState) -> None:
    """Keep ``state``: on the disk, whole, when this returns."""
    body = json.dumps(asdict(state)).encode()
    folder = records_folder.place_of(tree.root).open(make=True)
    assert folder is not None  # noqa: S101 - it was to be made
    with folder:
        draft = f"{FILE}.new"
        if folder.file_type(draft) is not None:
            folder.remove(draft)
        folder.create(draft, seal.seal(body).encode("ascii") + b"\n" + body, mode=0o600)
        folder.rename(draft, FILE)
        folder.sync()


def drop(tree: WorkTree) -> None:
    """Forget the move: it is over."""
    folder = records_folder.place_of(tree.root).open(make=False)
    if folder is not None:
        with folder:
            if folder.file_type(FILE) is not None:
                folder.remove(FILE)
            folder.sync()
