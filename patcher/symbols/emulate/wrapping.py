"""``--wrap`` of a linker that puts wrappers in when all was read, bound as the plain name is then."""

from __future__ import annotations

from patcher.symbols.emulate.names import ObjectUse, UndefinedName
from patcher.symbols.emulate.resolution import Table


def wrap_late(table: Table) -> None:
    """Give each wrapper the wishes for the plain name, and the plain name those for the real one."""
    strongly = table.bindings.strongly
    known = {name for name, _ in (*table.wanted, *table.by_library)} | table.objects.keys()
    known |= table.line.defined if table.linker.real_by_defsym else set()
    wrapped = sorted(table.line.wrapped & (known | table.archives.names()))
    late: set[str] = set()
    for name in wrapped:
        strong = strongly.get(name, True)  # what members alone have is no weak wish
        table.bindings.mention(f"__wrap_{name}", weak=not strong, library=False)
        late |= {f"__wrap_{name}"} if strong else set()
        if (f"__real_{name}", None) in table.wanted:
            late |= {name} if strong else set()
            strongly[name] = strongly[f"__real_{name}"]
    table.extract_late(late)
    for name in wrapped:
        _redirect(table, name, f"__wrap_{name}", table.own_calls.get(name, []))
        _redirect(table, f"__real_{name}", name, [])


def _redirect(table: Table, old: str, new: str, own: list[ObjectUse]) -> None:
    """Make objects' wishes for one name wishes for another; libraries' stay as they are."""
    wanted = table.wanted.pop((old, None), UndefinedName())
    for use in (*wanted.objects, *own):
        table.note_user((new, None), use.weak, table.units[use.unit].path, None)
        table.wanted[new, None].objects.append(use)
    for user in wanted.users:
        if user[1] is not None:
            table.note_user((old, None), user not in wanted.strong_users, *user)
