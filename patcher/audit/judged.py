"""Sites of files that were judged before, by content: a commit hook asks of the same files every time."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import astuple

from patcher.audit.sites import SiblingSite, pattern, sites
from patcher.base.cache import cache_dir
from patcher.base.machine import processors
from patcher.drift.verdicts import fingerprint
from patcher.engine.patchset import PatchSet
from patcher.engine.quant_type import QuantType

_FEW = 4  # files that are judged sooner than a second process starts


class SiteCache:
    """Path and content -> sites, kept in the user's cache for one set of edits and one release."""

    def __init__(self, patchset: PatchSet) -> None:
        self.quant_type = patchset.type
        facts = hashlib.sha256(repr(sorted(self.quant_type.facts.items())).encode()).hexdigest()[:8]
        self.place = cache_dir("audit") / f"{fingerprint(patchset.source)}-{facts}.sqlite"
        with closing(self._open()) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS judged (content TEXT PRIMARY KEY, sites TEXT)")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.place, timeout=60)

    def sites(self, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, list[SiblingSite]]]:
        """(path, its sites) of ``files``, in their order; what is new is judged, on all processors."""
        named = pattern(self.quant_type)
        words = (self.quant_type.sibling.upper().encode(), self.quant_type.sibling.lower().encode())
        asked = [
            (path, data, _key(path, data))
            for path, data in files
            # the plain words first: in most files neither stands, and they are looked for 20 times as fast
            if any(word in data for word in words) and named.search(data)
        ]
        known = self._known({key for _, _, key in asked})
        todo = [(path, data, self.quant_type) for path, data, key in asked if key not in known]
        made = dict(zip((_key(path, data) for path, data, _ in todo), _judged(todo), strict=True))
        if made:
            rows = [(key, json.dumps([astuple(one) for one in found])) for key, found in made.items()]
            with closing(self._open()) as database, database:
                database.executemany("INSERT OR REPLACE INTO judged VALUES (?, ?)", rows)
        for path, _, key in asked:
            yield path, known[key] if key in known else made[key]

    def _known(self, keys: set[str]) -> dict[str, list[SiblingSite]]:
        found: dict[str, list[SiblingSite]] = {}
        with closing(self._open()) as database:
            for key in keys:
                row = database.execute("SELECT sites FROM judged WHERE content = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = [SiblingSite(*one) for one in json.loads(row[0])]
        return found


def _key(path: str, data: bytes) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape") + b"\0" + data).hexdigest()


def _judged(todo: list[tuple[str, bytes, QuantType]]) -> list[list[SiblingSite]]:
    count = min(processors(), len(todo))
    if len(todo) <= _FEW or count <= 1:
        return [_one(item) for item in todo]
    # the big files first, so that all workers end together
    order = sorted(range(len(todo)), key=lambda number: -len(todo[number][1]))
    with ProcessPoolExecutor(count) as pool:
        made = dict(zip(order, pool.map(_one, [todo[number] for number in order]), strict=True))
    return [made[number] for number in range(len(todo))]


def _one(item: tuple[str, bytes, QuantType]) -> list[SiblingSite]:
    return list(sites(*item))
