"""Accesses to thread-local data: which calls a linker takes out, because it makes them simpler ones."""

from __future__ import annotations

from patcher.symbols.emulate.names import TLS_CALL, ObjectUse
from patcher.symbols.emulate.resolution import Table


def relaxed(table: Table, use: ObjectUse, lost: set[str]) -> bool:
    """Whether a program's call of ``__tls_get_addr`` is taken out: its accesses are made simpler ones.

    Those to what a ``--defsym`` makes a plain number stay as they are, and, under most linkers, those to
    what is ``lost``, reported as undefined.
    """
    linker, line = table.linker, table.line
    if line.shared or use.name != TLS_CALL.encode():
        return False
    for symbol in table.units[use.unit].symbols:
        name = symbol.name.decode("utf-8", "surrogateescape")
        if not symbol.tls or symbol.local:
            continue
        if linker.resolves_defsym and name in line.defined:
            return False
        if symbol.defined:
            continue
        if not linker.relaxes_lost and name in lost:
            return False
        if not linker.relaxes_foreign and name not in table.objects and (name, None) in table.by_library:
            return False
    return True
