"""References that are served by something of another sort: the loader binds them and the program dies."""

from __future__ import annotations

from collections.abc import Iterator

from patcher.symbols.elf import ElfObject
from patcher.symbols.scope import Scope, provides


def tls_mismatches(closure: frozenset[ElfObject], item: ElfObject, scope: Scope) -> Iterator[tuple[str, str]]:
    """References to a thread's own variable that meet a plain one, or the other way round: name, why.

    Linkers refuse it; a loader takes an address for an offset into the thread's block.
    """
    every = [one.exports.tls for one in closure if one.exports.tls]
    local = frozenset().union(*every) if every else frozenset()
    odd = {one.name for one in item.references if one.tls}
    names = local.intersection(item.keys)
    if not odd and not names:
        return  # nearly always
    for wanted, key in zip(item.references, item.keys, strict=True):
        if wanted.tls == (key in local) or wanted.weak:
            continue
        for provider in scope.objects:
            if provider not in closure or provider is item:
                continue
            if provides(provider.exports.of(wanted.name), provider, wanted, scope.libc):
                if wanted.tls != (key in provider.exports.tls):
                    has, wants = ("a plain one", "a variable of each thread")
                    if not wanted.tls:
                        has, wants = ("a variable of each thread", "a plain one")
                    yield wanted.name, f"{item.name} wants {wants}, {provider.name} defines {has}"
                break
