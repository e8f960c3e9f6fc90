"""One version of one file, indexed: how often each item is there, in which line, what each owner holds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cached_property, partial

from patcher.merge_audit import c_items, cmake_items, python_items
from patcher.merge_audit.common_parts import without_common
from patcher.merge_audit.item import Item, Key, Reading, by_lines

_READERS: dict[str, Callable[[str], Reading]] = {
    "c": c_items.read,
    "python": python_items.read,
    "cmake": cmake_items.read,
    "text": partial(by_lines, comment=""),
}
LONGEST = 2 << 20  # characters, without what all versions have, that are read item by item; else line by line
_NEAR = 60  # lines before a lost one, of which one that is still there is looked for


class Index:
    """The items of one version; of none where the file isn't there."""

    def __init__(self, reading: Reading, text: str, is_there: bool) -> None:
        self.items = reading.items
        self.text = text
        self.is_there = is_there
        self.counts: Counter[Key] = Counter(item.key for item in self.items)
        self.first: dict[Key, Item] = {}
        for item in self.items:
            self.first.setdefault(item.key, item)

    @cached_property
    def owners(self) -> dict[tuple[str, ...], Counter[str]]:
        """Owner -> the texts of what it holds itself; every owner of an owner is there, too."""
        found: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for item in self.items:
            owner = item.key.owner
            found[owner][item.key.text] += 1
            while owner and owner[:-1] not in found:
                owner = owner[:-1]
                found[owner] = Counter()
        return dict(found)

    @cached_property
    def conditions(self) -> dict[str, set[tuple[str, ...]]]:
        """Condition -> the owners in which it is opened."""
        found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for item in self.items:
            if item.opens:
                found[item.opens].add(item.key.owner)
        return dict(found)

    def has_condition(self, text: str, owner: tuple[str, ...]) -> bool:
        """Whether something in ``owner`` may stand under that condition here; under none it always may."""
        return not text or any(
            all(mine == its for mine, its in zip(owner, one, strict=False))
            for one in self.conditions.get(text, ())
        )

    @cached_property
    def words(self) -> Counter[str]:
        """How often each word is in the file."""
        return Counter(re.findall(r"\w+", self.text))

    @cached_property
    def names(self) -> dict[tuple[str, ...], dict[str, tuple[int | None, int, bool]]]:
        """Enum -> enumerator -> (number where it is known, line, whether it names another one's)."""
        found: dict[tuple[str, ...], dict[str, tuple[int | None, int, bool]]] = defaultdict(dict)
        last: dict[tuple[str, ...], int | None] = {}
        for item in self.items:
            if item.key.construct != "enumerator":
                continue
            owner, name = item.key.owner, item.key.text
            number, alias = _number(item.value, found[owner], last.get(owner, -1))
            found[owner].setdefault(name, (number, item.line, alias))
            last[owner] = number
        return dict(found)

    @cached_property
    def lines(self) -> list[str]:
        """The file's lines without the white space around them."""
        return [line.strip() for line in self.text.splitlines()]

    @cached_property
    def alone(self) -> dict[str, int]:
        """Lines that the file has once -> their numbers."""
        counts = Counter(self.lines)
        return {
            line: number for number, line in enumerate(self.lines, 1) if counts[line] == 1 and len(line) > 3
        }

    def near(self, other: Index, line: int) -> int | None:
        """The line here that stands nearest before ``line`` of ``other``; None where the file isn't there."""
        for before in reversed(other.lines[max(0, line - _NEAR) : max(0, line - 1)]):
            if before in self.alone:
                return self.alone[before]
        return 1 if self.is_there else None


def _number(
    value: str | None, known: dict[str, tuple[int | None, int, bool]], before: int | None
) -> tuple[int | None, bool]:
    """An enumerator's number as ``value`` says it (None: the next one); whether it is another's by name."""
    if value is None or value == "auto()":
        return (before + 1 if before is not None else None), False
    if value in known:
        return known[value][0], True
    text = value.replace(" ", "").rstrip("uUlL")
    shift = re.fullmatch(r"\(?(\d+)[uUlL]*<<(\d{1,3})\)?", text)
    if shift is not None:
        return int(shift[1]) << int(shift[2]), False
    if re.fullmatch(r"-?(?:0[xX][0-9a-fA-F]{1,32}|\d{1,32})", text):
        return int(text, 16 if "x" in text.lower() else 10), False
    return None, bool(re.search(r"[A-Za-z_]", value))


def indexes(language: str, versions: list[bytes | None]) -> list[Index]:
    """The versions of one file, all read the same way: by lines where the language's reader refuses one."""
    texts = [data.decode("utf-8", "replace") if data is not None else "" for data in versions]
    less = without_common(language, texts)
    if any(len(text) - text.count("\n") > LONGEST for text in less):
        language = "text"
    known = _read_alike(language, less if language != "text" else texts)
    if not all(reading.is_code for reading in known) and language != "text":
        known = _read_alike(language, texts)
    if language != "text" and not all(reading.is_code for reading in known):
        known = [by_lines(text) for text in texts]
    there = [data is not None for data in versions]
    return [Index(*one) for one in zip(known, texts, there, strict=True)]


def _read_alike(language: str, texts: list[str]) -> list[Reading]:
    made: dict[str, Reading] = {}
    for text in texts:
        if text not in made:
            made[text] = _READERS[language](text)
    return [made[text] for text in texts]
