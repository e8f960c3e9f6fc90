"""Which bracket of a C++ name closes which: found in one walk, however deep they nest."""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOSES = {")": "(", "]": "[", "}": "{", ">": "<"}
# operators are made of brackets that open and close nothing; a space parts them from what they are given
_OPERATOR = re.compile(r"\boperator(?:<=>|<<=?|>>=?|->\*?|<=|>=|<|>|\(\)|\[\])(?: (?=<))?")


class Brackets:
    """The pairs of one text. One that has no partner (``a > b``) is a character like any other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.partner: dict[int, int] = {}  # of the opening one the closing one, and the other way round
        self.operators = operators = {at for found in _OPERATOR.finditer(text) for at in range(*found.span())}
        open_ones: list[int] = []
        for at, char in enumerate(text):
            if at in operators:
                continue
            if char in "<([{":
                open_ones.append(at)
            elif char in _CLOSES:
                if char == ">" and text[at - 1 : at] == "-":  # an arrow
                    continue
                while open_ones and char != ">" and text[open_ones[-1]] == "<":
                    open_ones.pop()  # less than: other brackets are always pairs
                if open_ones and text[open_ones[-1]] == _CLOSES[char]:
                    start = open_ones.pop()
                    self.partner[start], self.partner[at] = at, start

    def outside(self, start: int = 0, end: int | None = None) -> Iterator[int]:
        """The places from ``start`` to ``end`` that are in no pair; of a pair itself the opening one."""
        at, end = start, len(self.text) if end is None else end
        while at < end:
            yield at
            at = max(at, self.partner.get(at, at)) + 1

    def split(self, start: int, end: int) -> list[str]:
        """The parts between commas that stand in no pair."""
        if not self.text[start:end].strip():
            return []
        cuts = [at for at in self.outside(start, end) if self.text[at] == ","]
        return [
            self.text[first:last].strip()
            for first, last in zip([start, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True)
        ]
