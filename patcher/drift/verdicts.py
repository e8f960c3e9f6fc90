"""What each edit says to one file's content: computed once for each blob, in parallel, and kept.

An edit's verdict depends on the one file that it goes to, so a blob that a thousand commits share is
parsed once. (Conditions on other files change what is written, never whether it can be.)
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

from patcher.base.cache import cache_dir
from patcher.base.machine import processors
from patcher.base.progress import SILENT, Reporter
from patcher.base.resources import resource_dir
from patcher.engine import rendering
from patcher.engine.patchset import NEW_FILE, PatchSet, load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree_record import Choices

Verdicts = dict[str, tuple[str, str]]  # edit id -> (state, detail)
Key = tuple[str, str]  # path, blob

_CHUNK = 4  # blobs that one worker takes at a time: they differ in size by a thousand


class OneFile:
    """A tree that holds one file."""

    name = "one file"

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data

    def read(self, path: str) -> bytes | None:
        """The file's bytes, where it is the one."""
        return self.data if path == self.path else None


def judge(patchset: PatchSet, path: str, data: bytes) -> Verdicts:
    """What every edit that can go to ``path`` says of ``data``."""
    ids = tuple(edit.id for edit in patchset.edits if path in edit.files and edit.kind != NEW_FILE)
    plan = make_plan(OneFile(path, data), patchset.select(ids))
    return {edit.edit.id: (edit.state.value, edit.detail) for edit in plan.edits}


@cache
def fingerprint(source: str) -> str:
    """A hash of all that verdicts depend on: edits, templates and the code that reads them."""
    digest = hashlib.sha256()
    patchset = _loaded(source)
    if patchset.home is not None:
        digest.update(Path(source).read_bytes())
        for edit in patchset.edits:
            if edit.own:
                place = rendering.place_of(edit.template, patchset.home, patchset.templates)
                digest.update(edit.id.encode() + b"\0" + place.read_bytes())
    folders = [resource_dir("patches"), resource_dir("templates"), Path(__file__).resolve().parents[1]]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix != ".pyc" and path.is_file():
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{patchset.name}-{digest.hexdigest()[:20]}"


def _settled(patchset: PatchSet) -> str:
    """What tells the set as one tree has settled it from the plain one, which is empty."""
    facts = (patchset.choices, sorted(patchset.wrote.items()), patchset.strip)
    if facts == (Choices(), [], ""):
        return ""
    return "-" + hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:12]


class Store:
    """Verdicts on disk, so that an interrupted run goes on and the next one is faster."""

    def __init__(self, patchset: PatchSet) -> None:
        self.place = cache_dir("drift") / f"{fingerprint(patchset.source)}{_settled(patchset)}.sqlite"
        with closing(self._open()) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS verdicts"
                " (path TEXT, blob TEXT, said TEXT, PRIMARY KEY (path, blob))"
            )

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.place, timeout=60)

    def known(self, keys: Iterable[Key]) -> dict[Key, Verdicts]:
        """Those of ``keys`` that were judged before."""
        wanted = set(keys)
        found: dict[Key, Verdicts] = {}
        with closing(self._open()) as database:
            for path, blob, said in database.execute("SELECT path, blob, said FROM verdicts"):
                if (path, blob) in wanted:
                    found[path, blob] = {
                        edit: (state, detail) for edit, (state, detail) in json.loads(said).items()
                    }
        return found

    def add(self, made: Iterable[tuple[Key, Verdicts]]) -> None:
        """Keep new ones."""
        rows = [(path, blob, json.dumps(said)) for (path, blob), said in made]
        with closing(self._open()) as database, database:
            database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", rows)


def judge_all(
    repo: Path,
    patchset: PatchSet,
    keys: Iterable[Key],
    *,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> dict[Key, Verdicts]:
    """What the edits say of each (path, blob)."""
    store = Store(patchset)
    wanted = list(dict.fromkeys(keys))
    found = store.known(wanted)
    todo = [key for key in wanted if key not in found]
    with reporter.step("Judging files", total=len(todo)) as step:
        for number, (key, said) in enumerate(_judged(repo, patchset, todo, jobs, store), 1):
            found[key] = said
            step.update(done=number, detail=key[0])
    return found


def _judged(
    repo: Path, patchset: PatchSet, todo: list[Key], jobs: int | None, store: Store
) -> Iterator[tuple[Key, Verdicts]]:
    # neighbours share most of their text, not their cost: the big files first keep all workers busy
    batches = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    count = min(jobs or processors(), len(batches))
    if count <= 1:
        for batch in batches:
            made = _work(repo, patchset, batch)
            store.add(made)
            yield from made
        return
    with ProcessPoolExecutor(count) as pool:
        waiting = [pool.submit(_work, repo, patchset, batch) for batch in batches]
        try:
            for future in waiting:
                made = future.result()
                store.add(made)
                yield from made
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


def _work(repo: Path, patchset: PatchSet, batch: list[Key]) -> list[tuple[Key, Verdicts]]:
    from patcher import git

    return [((path, blob), judge(patchset, path, git.read_blob(repo, blob))) for path, blob in batch]


@cache
def _loaded(source: str) -> PatchSet:
    return load(source)


CONFLICT = State.CONFLICT.value
