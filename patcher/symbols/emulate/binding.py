"""How the names of a link are bound, strongly or weakly: what a linker says while it goes along the line."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from patcher.symbols.emulate.linkers import Bound


@dataclass
class Bindings:
    """Name -> whether it is bound strongly; a name that nothing mentioned isn't here."""

    rule: Bound
    strongly: dict[str, bool] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)  # by an object, or asked for
    defined: set[str] = field(default_factory=set)  # by an object

    def ask(self, names: set[str]) -> None:
        """Note what the line itself asks for, before any file."""
        if self.rule is Bound.OBJECTS:
            self.strongly.update(dict.fromkeys(names, True))
            self.settled |= names

    def mention(self, name: str, *, weak: bool, library: bool, offered: Container[str] = ()) -> None:
        """Note one more reference; ``offered`` are the names of members that the linker has seen so far."""
        before = self.strongly.get(name)
        if name in self.defined:
            return
        if before is None:
            self.strongly[name] = not weak
        elif self.rule is Bound.ANY:
            self.strongly[name] = before or not weak
        elif self.rule is Bound.FIRST:
            self.strongly[name] = before or not (weak or library)
        elif not library and (not weak or name not in self.settled):
            self.strongly[name] = not weak
        elif library and not weak and name in offered:
            self.strongly[name] = True
        if not library:
            self.settled.add(name)

    def define(self, name: str, *, weak: bool, first: bool) -> None:
        """Note a definition of an object, the ``first`` of that name or another."""
        if first or not weak:
            self.strongly[name] = not weak
        self.defined.add(name)

    def export(self, name: str, *, weak: bool) -> None:
        """Note a definition of a library: it binds what nothing mentioned before."""
        self.strongly.setdefault(name, not weak)
