"""The archives of a link line, and what of their members counts where the linker is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from patcher.symbols.emulate.commandline import LinkLine
from patcher.symbols.emulate.linkers import Linker
from patcher.symbols.emulate.names import defines
from patcher.symbols.emulate.operands import Input
from patcher.symbols.relocatable import weak_exports


@dataclass
class Archives:
    """Those that the linker has come to; their members are taken when something wants them."""

    linker: Linker
    line: LinkLine
    lazy: list[Input] = field(default_factory=list)
    offered: set[str] = field(default_factory=set)  # what members have that were seen so far
    first: dict[str, int] = field(default_factory=dict)  # who serves, by its identity, where rank decides
    lost: dict[str, int] = field(default_factory=dict)  # archives before this one serve it no more
    late: set[str] = field(default_factory=set)  # asked for when all was read
    at: int = 0  # the place of the input that the linker is at
    ended: bool = False  # all of the line was read

    def offer(self, part: Input, served: Callable[[str], bool]) -> None:
        """Come to one more; what a library before it ``served``, archives up to it serve no more."""
        self.lazy.append(part)
        names = _defined(part)
        self.offered |= names
        if not self.linker.archives_in_order:
            self.lost.update({name: len(self.lazy) for name in names if served(name)})

    def lose(self, name: str) -> None:
        """A library serves ``name`` from here on."""
        self.lost[name] = len(self.lazy)

    def rank(self, parts: Sequence[Input], lazy: Sequence[Input]) -> None:
        """Find who serves each name, wherever it stands: a strong definition, and the first."""
        weak: dict[str, int] = {}
        for part in parts:
            if part.library is not None:
                weakly = weak_exports(part.library.path)
                for name, version in defines(part.library):
                    if version is None:
                        table = weak if name.encode("utf-8", "surrogateescape") in weakly else self.first
                        table.setdefault(name, id(part))
            for unit in part.units if part in lazy else ():
                for symbol in unit.symbols:
                    if symbol.defined and not symbol.local:
                        table = weak if symbol.weak else self.first
                        table.setdefault(symbol.name.decode("utf-8", "surrogateescape"), id(unit))
        self.first = {**weak, **self.first}

    def excluded(self, part: Input) -> bool:
        """Whether ``--exclude-libs`` hides what its members define."""
        names = self.line.excluded_archives
        name = part.path.name
        short = self.linker.excludes_by_stem and name.removesuffix(".a") in names
        return part.archive and ("ALL" in names or name in names or short)

    def asked(self, name: str) -> bool:
        """Whether the line itself wants ``name``, by ``-u`` or in a --defsym that the linker has come to."""
        if name in self.line.asked_for | self.late:
            return True
        at = self.line.needed_by_defsym.get(name)
        if at is None or self.linker.expressions_in_order:
            return at is not None and at <= self.at
        return self.linker.archives_in_order or self.ended

    def names(self) -> set[str]:
        """What members define, taken or not."""
        return {name for part in self.lazy for name in _defined(part)}


def _defined(part: Input) -> set[str]:
    symbols = (one for unit in part.units for one in unit.symbols if one.defined and not one.local)
    return {one.name.decode("utf-8", "surrogateescape") for one in symbols}
