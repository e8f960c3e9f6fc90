"""The items of a file of the C family: C, C++, CUDA, Metal, shaders.

A reader of braces, on purpose not a grammar: four versions of one file are compared, and one that a grammar
can't take whole (a decoration that is a macro, a function whose head stands twice between ``#if`` and
``#else``) must still be read like the other three. An error of a grammar spreads over the file, a brace that
isn't closed under one condition ends with that condition.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from patcher.merge_audit.c_frames import TYPES, Frame, opened
from patcher.merge_audit.c_tokens import COMMENT, DIRECTIVE, TOKEN
from patcher.merge_audit.item import Item, Key, Reading

_LONG = 80  # tokens of a statement that is told apart by its commas: a table that a macro makes
_LONGEST = 400  # tokens of a statement that has lists in it
_DEEPEST = 400  # braces within braces; what goes deeper is read as if it didn't


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.made: list[tuple[Frame, bool, str, str, int, str | None, tuple[str, ...], str]] = []
        self.conditions: list[str] = []  # of the preprocessor, from the outermost on
        self.frame = Frame("file")
        self.level = 0
        self.head: list[str] = []
        self.start = 0
        self.depth = 0
        self.saved: list[tuple[Frame, int, list[str], int]] = []
        self.switches: dict[tuple[str, ...], int] = {}

    def read(self) -> Reading:
        position, fresh, end = 0, True, len(self.text)
        text, token = self.text, TOKEN
        while position < end:
            found = token.match(text, position)
            if found is None:
                position += 1
                continue
            group = found.lastgroup
            if group == "delim":
                group = "raw"
            if group == "nl":
                fresh = True
            elif group != "skip":
                word = found.group()
                if fresh and word == "#":
                    position = self._directive(position)
                    continue
                fresh = False
                self._take(word, position)
            position = found.end()
        self._flush()
        return self._finished()

    def _finished(self) -> Reading:
        ends = [found.start() for found in re.finditer("\n", self.text)]
        reading = Reading()
        for frame, plain, construct, text, offset, value, under, opens in self.made:
            key = Key(frame.body() if plain else frame.owner(), construct, text)
            reading.items.append(Item(key, bisect_right(ends, offset - 1) + 1, value, under, opens))
        return reading

    def _add(
        self,
        construct: str,
        text: str,
        offset: int,
        *,
        plain: bool = False,
        value: str | None = None,
        opens: str = "",
    ) -> None:
        condition = self.conditions[-1] if self.conditions else ""
        under = (condition, self.frame.within, self.frame.behind(), self.frame.namespace())
        self.made.append((self.frame, plain, construct, text, offset, value, under, opens))

    # -- conditions

    def _directive(self, position: int) -> int:
        found = DIRECTIVE.match(self.text, position)
        if found is None:
            return position + 1
        verb = found["verb"]
        rest = " ".join(COMMENT.sub(" ", found["rest"]).split())
        if verb in ("if", "ifdef", "ifndef"):
            self.saved.append((self.frame, self.level, list(self.head), self.depth))
            self._condition(f"#{verb} {rest}", _plain(f"#{verb} {rest}"), position)
        elif verb in ("else", "elif"):
            if self.saved:  # what the first way opened, the second opens again
                self.frame, self.level, head, self.depth = self.saved[-1]
                self.head = list(head)
                first = self.conditions.pop()
                opens = _plain(f"#if {rest}") if verb == "elif" else f"#else of {first}"
                self._condition(f"#elif {rest}" if verb == "elif" else "#else", opens, position)
        elif verb == "endif":
            if self.saved:
                self.saved.pop()
                self.conditions.pop()
        elif verb in ("include", "import"):
            self._add("include", rest, position)
        elif verb == "define":
            self._add("macro", rest, position, plain=True)
        elif verb:
            self._add("directive", f"#{verb} {rest}".strip(), position, plain=True)
        return found.end()

    def _condition(self, text: str, opens: str, position: int) -> None:
        self._add("condition", text, position, plain=True, opens=opens)
        self.conditions.append(opens)

    # -- tokens

    def _take(self, word: str, position: int) -> None:
        if not self.head:
            self.start = position
        if word == "{":
            self._open()
        elif word == "}":
            self._close()
        elif word == ";" and not (self.depth and "for" in self.head):
            self.depth = 0  # parentheses that no one closed end here, not with the file
            self._flush()
        elif word == "," and not self.depth and self.frame.scope in ("list", "enum"):
            self._flush()
        elif word == ":" and self._labels():
            pass
        else:
            if word in "([":
                self.depth += 1
            elif word in ")]" and self.depth:
                self.depth -= 1
            self.head.append(word)

    def _labels(self) -> bool:
        """Whether the colon ends a label, which was taken."""
        first = self.head[0] if self.head else ""
        if self.depth:
            return False
        if first == "case" and self.head.count("?") == 0:
            self._label(f"case {' '.join(self.head[1:])}")
            return True
        if first == "default" and len(self.head) == 1:
            self._label("default")
            return True
        if first in ("public", "private", "protected") and len(self.head) <= 2 and self.frame.scope == "type":
            text = f"{' '.join(self.head)}:"
            self._add("directive", text, self.start, opens=text)
            self.frame.label, self.head = text, []
            return True
        return False

    def _label(self, text: str) -> None:
        at: Frame | None = self.frame
        while at is not None and at.scope == "block":
            at = at.parent
        if at is not None and at.scope == "switch":
            if at.labeled != len(self.made):
                at.label = text
            under = (self.conditions[-1] if self.conditions else "", "", "", at.namespace())
            self.made.append((at, False, "case", text, self.start, None, under, text))
            at.labeled = len(self.made)
        else:
            self._add("case", text, self.start)
        self.head = []

    # -- braces

    def _open(self) -> None:
        plain = self.head[:1] == ["switch"] and not self.depth and self.frame.scope != "list"
        frame = self._switch() if plain else opened(self.head, self.frame, self.depth)
        frame.parent, frame.head, frame.start, frame.depth = self.frame, self.head, self.start, self.depth
        frame.mark = len(self.made)
        head = " ".join(self.head)
        if frame.scope == "namespace" and self.head[:1] == ["namespace"]:
            self._add("directive", head, self.start, opens=f"namespace {frame.name or ''}".rstrip())
        if frame.scope == "function":
            self._add("definition", head, self.start)
        elif frame.scope == "switch" or (frame.scope == "block" and head):
            frame.within = f"else of {self.frame.closed}" if head == "else" else head.removeprefix("else ")
            self._add("condition", head, self.start, plain=True, opens=frame.within)
        elif frame.scope in ("block", "list"):
            frame.within = self.frame.within
        if self.level < _DEEPEST:
            self.frame = frame
        self.level += 1
        self.head, self.depth = [], 0

    def _switch(self) -> Frame:
        """A switch by what it asks, and by the case that it stands in: a number only tells twins apart."""
        name = "".join(self.head)
        around: Frame | None = self.frame
        while around is not None and around.scope == "block":
            around = around.parent
        if around is not None and around.label:
            name = f"{name} of {around.label}"
        place = (*self.frame.body(), name)
        number = self.switches[place] = self.switches.get(place, 0) + 1
        return Frame("switch", name if number == 1 else f"{name}#{number}")

    def _close(self) -> None:
        self._flush()
        if self.level > 0:
            self.level -= 1
        frame = self.frame
        if frame.parent is None or self.level >= _DEEPEST:
            return
        self.frame, self.depth = frame.parent, frame.depth
        if frame.scope in ("block", "switch"):
            self.frame.closed = " ".join(frame.head)
        if frame.scope in ("list", "type", "enum") or frame.depth:
            self.head, self.start = [*frame.head, "{}"], frame.start
            if frame.scope == "list" and self.frame.scope == "list":
                self._row(frame)
            elif len(self.head) > _LONGEST:
                self._flush()
        else:
            self.head = []

    def _row(self, frame: Frame) -> None:
        """A list in a list: one item where it is plain; else its designator or first element owns it."""
        self.head = []
        inside = self.made[frame.mark :]
        if frame.name is None and not frame.holds:
            del self.made[frame.mark :]
            row = ", ".join(text for _, _, _, text, *_ in inside)
            self._add("entry", f"{{{row}}}", frame.start)
            return
        if frame.name is None:
            frame.name = next((text for at, _, _, text, *_ in inside if at is frame), None)
        self._add("entry", f"{{{frame.name or ''}}}", frame.start)

    def _flush(self) -> None:
        head, self.head = self.head, []
        if not head:
            return
        scope = self.frame.scope
        text = " ".join(head)
        if scope == "enum":
            self._enumerator(head)
        elif scope == "list":
            self._add("entry", text, self.start)
        elif "{}" in head and set(head) & {"struct", "class", "union", "enum"} and not set(head) & {"=", "("}:
            self._named_behind(head)
            self._add("definition", text, self.start)
        elif len(head) > _LONG and "," in head:
            self._parts(head)
        elif scope == "type":
            self._add("field", text, self.start)
        elif scope in ("file", "namespace"):
            self._add("declaration", text, self.start)
        else:
            self._add("statement", text, self.start, plain=True)

    def _enumerator(self, head: list[str]) -> None:
        value = " ".join(head[head.index("=") + 1 :]) if "=" in head else None
        name = " ".join(head[: head.index("=")]) if "=" in head else " ".join(head)
        self._add("enumerator", name, self.start, value=value)
        if value is not None:
            self._add("value", f"{name} = {value}", self.start)

    def _named_behind(self, head: list[str]) -> None:
        """``typedef struct {...} name``: what lies in the braces is the name's."""
        name = next((word for word in reversed(head) if re.fullmatch(r"[A-Za-z_]\w*", word)), None)
        if name is None or name in TYPES or name in ("enum", "typedef"):
            return
        for at in range(len(self.made) - 1, -1, -1):
            frame = self.made[at][0]
            while frame.parent is not None and frame.parent is not self.frame:
                frame = frame.parent
            if frame.parent is self.frame:
                if not frame.name and frame.start == self.start:
                    frame.name = name
                return

    def _parts(self, head: list[str]) -> None:
        part: list[str] = []
        for word in [*head, ","]:
            if word == "," and part:
                self._add("statement", " ".join(part), self.start, plain=True)
                part = []
            elif word != ",":
                part.append(word)


def _plain(condition: str) -> str:
    """A condition as it is told apart: whether it is the first of its row, and how a macro is asked for,
    is the same."""
    asked = re.fullmatch(r"#if defined ?(?:\( ?(\w+) ?\)|(\w+))", condition)
    return f"#ifdef {asked[1] or asked[2]}" if asked is not None else condition


def read(text: str) -> Reading:
    """The items of a file of the C family."""
    return _Reader(text).read()
