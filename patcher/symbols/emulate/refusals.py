"""What a linker refuses on one line: the symbols, who wants them, and why it minds.

One module, however long: every check reads the same table, and they come in the order of the linker's own.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from patcher.symbols.elf import ElfObject
from patcher.symbols.emulate.collect import Kept, collect
from patcher.symbols.emulate.commandline import LinkLine
from patcher.symbols.emulate.indirect import copied, follow, off_line
from patcher.symbols.emulate.linkers import Anyway, Hardened, Libraries, Linker
from patcher.symbols.emulate.names import TLS_CALL, Key, ObjectUse, UndefinedName, linker_own
from patcher.symbols.emulate.operands import inputs, named
from patcher.symbols.emulate.order import written
from patcher.symbols.emulate.policy import Reported, reported
from patcher.symbols.emulate.refusal import Refusal
from patcher.symbols.emulate.resolution import Table, asks
from patcher.symbols.emulate.scripts import VersionScript, read_script
from patcher.symbols.emulate.thread_local import relaxed
from patcher.symbols.emulate.wrapping import wrap_late
from patcher.symbols.relocatable import exports_data
from patcher.symbols.scope import Library

_NOBODY = UndefinedName()


def refusals(line: LinkLine, linker: Linker, library: Library) -> list[Refusal]:
    """What ``linker`` would refuse; nothing where it would link."""
    strange = [name for name in line.options if name in linker.unknown_options]
    if strange:
        return [Refusal("", None, f"{linker.name} doesn't know {strange[0]}")]
    if line.relocatable:
        return []
    if linker.family == "mold":
        starts = line.starts_static
        line.operands = [replace(one, static=starts) if one.static is None else one for one in line.operands]
    parts, missing = inputs(line, library)
    missing += named(line, symbols_by_letter=linker.symbols_by_letter)
    if linker.static_refuses:
        for part in parts:
            if part.library is not None and part.operand.static:
                missing.append(f"a static {part.path.name}: -Bstatic is in force there")
    lost = [Refusal("", None, f"{linker.name} doesn't find {name}") for name in missing]
    if lost and not linker.goes_on:
        return lost
    if linker.wraps_late:  # a --defsym of a name that is wrapped makes the wrapper, too
        both = {f"__wrap_{name}" for name in line.defined & line.wrapped}
        line = replace(line, defined=line.defined | both)
    table = Table(linker, line)
    table.take(parts)
    if linker.wraps_late:
        wrap_late(table)
    if linker.copies_nothing:
        lost += [
            Refusal(
                "", one.path, f"{linker.name} doesn't follow {name}, as --copy-dt-needed-entries asks it to"
            )
            for one in table.needs_all
            for name in one.needed
            if name not in table.sonames
        ]
    script = VersionScript()
    if line.version_script is not None:
        script = read_script(line.version_script, demangled=line.demangles or linker.scripts_demangle)
    told = reported(line, linker)
    indirect: dict[Key, ElfObject] = {}
    if linker.libraries is Libraries.RECURSIVE and (told.libraries or table.needs_all):
        indirect = follow(table, library)
        off = [one for one in off_line(table, indirect) if not copied(table, one, library)]
        if off:
            return [*lost, *off[:1]]
    found = [] if line.version_script is None or table.lto else _in_script(table, script)
    hidden = table.hidden | {name for name, visible in table.objects.items() if not visible}
    for name in table.objects:
        table.objects[name] = table.objects[name] and not script.is_local(name)
    table.unexported = {name for name in line.defined if script.is_local(name)}
    kept = _kept(table, hidden, script) if line.collect and not table.lto else None
    found += [] if table.lto or _ended(found) else _in_objects(table, told, kept, indirect)
    if _ended(found):
        return [*lost, *_in_spite(_ended(found), table)]
    if linker.libraries is Libraries.RECURSIVE:
        found = [one for one in found if one.fatal or not copied(table, one, library)]
    names = {one.symbol for one in found}
    lacking = _in_libraries(table, indirect, names, kept)
    if not told.libraries:
        lacking = [one for one in lacking if one.unexported and linker.unexported_is_fatal]
    if linker.stops_writing:
        late = {name for name in table.objects if name not in hidden} if line.collect else set()
        lacking = written(lacking, names & table.hidden, late)
    found += lacking
    return [*lost, *_in_spite([one for one in found if one.fatal or not line.warn_only], table)]


def _in_spite(found: list[Refusal], table: Table) -> list[Refusal]:
    """What stops a link that is to be written whatever is lacking."""
    if not table.line.anyway:
        return found
    kept = table.linker.anyway
    if kept is Anyway.EXPRESSIONS:
        return [one for one in found if one.fatal and one.symbol in table.line.needed_by_defsym]
    return [one for one in found if one.fatal and kept is Anyway.FATAL]


def _ended(found: list[Refusal]) -> list[Refusal]:
    """What ends the link before all else is looked at."""
    return [one for one in found if one.ends]


def _told(table: Table, told: Reported, name: str) -> bool:
    if table.linker.family == "gold" and table.line.unresolved == "ignore-in-object-files":
        # it means symbols that no library mentions
        mentioned = any(user for _, user in table.wanted[name, None].users)
        return mentioned and (not table.line.shared or "defs" in table.line.policy)
    return told.objects


def _hardened(table: Table, name: str, wanted: UndefinedName) -> bool:
    """Whether weak references count as strong ones, for another's sake."""
    by = table.linker.hardened_by
    if by is Hardened.ALL:
        return wanted.hard or name in table.line.asked_for
    return by is not Hardened.NONE and any(not one.weak for one in wanted.objects)


def _in_objects(
    table: Table, told: Reported, kept: Kept | None, indirect: dict[Key, ElfObject]
) -> list[Refusal]:
    """Names that objects want and nothing on the line defines, or no library may."""
    line, linker, found = table.line, table.linker, list[Refusal]()
    if linker.resolves_defsym:
        for said in line.needed_by_defsym:
            name = table.meant(said) if linker.wraps_defsym else said
            foreign = (name, None) in table.by_library or (name, None) in indirect
            itself = name in line.circular  # which only bfd minds
            known = (
                (name, None) in table.by_library
                and linker.takes_library_value
                and not line.shared
                and not itself
                and any(_counts(kept, one) for one in table.wanted.get((name, None), _NOBODY).objects)
            )
            known = known or (itself and not linker.minds_circles)
            known = known or name in line.defined - line.circular or linker_own(name)
            if name not in table.objects and not known:
                ends = linker.expressions_end and not foreign
                why = "a --defsym names it, and no object defines it"
                found.append(Refusal(said, None, why, fatal=True, ends=ends))
                if ends:
                    break
    if linker.requires:
        for name in sorted(line.required):
            asked = table.wanted.get((name, None))
            if linker.requirements_end and asked is not None and asked.objects:
                continue  # mold asks whether any object mentions it
            if not table.defined(name.encode("utf-8", "surrogateescape")) and name not in line.defined:
                why, ends = "--require-defined asks for it, and nothing defines it", linker.requirements_end
                found.append(Refusal(name, None, why, fatal=True, ends=ends))
    # what reaches a thread's own variables is wanted where an access to one stays, so: last
    for key, wanted in sorted(table.wanted.items(), key=lambda one: one[0][0] == TLS_CALL):
        name = key[0]
        if table.own(name) or name in line.defined or name in table.objects:
            continue
        lost = {one.symbol for one in found} if key[0] == TLS_CALL else set()  # nothing else asks
        uses = [one for one in wanted.objects if not relaxed(table, one, lost)]
        uses = [one for one in uses if _counts(kept, one)]
        strong = [one for one in uses if not one.weak]
        nowhere = key not in table.by_library and key not in indirect
        if linker.hardened_by is Hardened.BOUND:
            strong = uses if table.bindings.strongly.get(name) else []
        elif not strong and nowhere and _hardened(table, name, wanted):
            strong = uses
        if not strong:
            continue
        settles = linker.hardened_by is Hardened.NONE and line.shared and name not in table.hidden
        if settles and wanted.objects[0].weak:
            continue  # the first reference, a weak one, has settled it for a library
        user = table.units[strong[0].unit].path
        if name in table.hidden and told.hidden:
            why = "wanted with hidden visibility, so no library can define it"
            there = table.by_library.get(key)
            if (
                there is not None
                and linker.copies_hidden
                and not line.shared
                and exports_data(there.path, name)
            ):
                continue
            # gold: worse than one that is nowhere, unless those aren't to be told of
            quiet = line.unresolved in ("ignore-all", "ignore-in-object-files")
            known = linker.family == "gold" and (there is not None or quiet)
            found.append(Refusal(name, user, why, fatal=linker.hidden_is_fatal or known))
        elif _told(table, told, name) and key not in table.by_library:
            found.append(Refusal(name, user, "defined nowhere on the line"))
    return found


def _counts(kept: Kept | None, use: ObjectUse) -> bool:
    return kept is None or kept.wanted(use.unit, use.name)


def _kept(table: Table, hidden: set[str], script: VersionScript) -> Kept:
    """What --gc-sections leaves. ``hidden`` are the definitions that no script made so."""
    line = table.line
    linker = table.linker
    named = line.demangles or linker.scripts_demangle
    lists = [read_script(path, demangled=named) for path in line.dynamic_lists]
    roots = {line.entry or "_start"} | line.asked_for | line.kept
    roots |= line.needed_by_defsym.keys() if linker.keeps_named else set()
    by_libraries = {key[0] for key, wanted in table.wanted.items() if any(one for _, one in wanted.users)}
    if linker.family == "gold":
        by_libraries &= table.bound
    # what a library defines too is exported, to go before its definition
    by_libraries |= {name for name, _ in table.by_library}
    if linker.family == "bfd":
        by_libraries -= hidden - (set() if line.shared else table.shadowed)
    elif linker.family != "gold":
        by_libraries -= {name for name, visible in table.objects.items() if not visible}
    roots |= by_libraries
    dynamic = linker.family != "bfd" or table.dynamic
    for name, visible in table.objects.items():
        listed = any(one.lists(name) for one in lists) or any(fnmatchcase(name, one) for one in line.exported)
        seen = visible or (linker.family == "mold" and name not in hidden)
        if linker.scripts_export and name not in hidden:
            listed = listed or (script.lists(name) and not script.is_local(name))
        if (visible and (line.shared or (line.export_all and dynamic))) or (seen and listed and dynamic):
            roots.add(name)
    raw = [table.aliased(name).encode("utf-8", "surrogateescape") for name in roots]
    moved = line.wrapped or line.aliases
    return collect(table.units, raw, table.reached) if moved else collect(table.units, raw)


def _in_script(table: Table, script: VersionScript) -> list[Refusal]:
    """What a version script names that no object defines, where the linker minds."""
    linker, line = table.linker, table.line
    said = line.undefined_version if linker.heeds_undefined_version else None
    allowed = linker.undefined_versions if said is None else said
    if allowed:
        return []
    if linker.family == "gold":  # looks at what goes into a version with a name
        script = VersionScript([one for one in script.exported if script.versions and not one.cpp])
    if linker.family == "bfd":  # has nothing to say in an output of objects alone, nor of what is made local
        if not table.dynamic:
            return []
        script = VersionScript(script.exported)
    lazily = table.archives.names() - table.archives.lost.keys() if linker.lazy_versions else set[str]()
    names = script.unmatched({*table.objects, *lazily})
    why, ends = "the version script names it, and no object defines it", linker.scripts_end
    return [Refusal(name, line.version_script, why, fatal=True, ends=ends) for name in names]


def _in_libraries(
    table: Table, indirect: dict[Key, ElfObject], told: set[str], kept: Kept | None
) -> list[Refusal]:
    linker, line, found = table.linker, table.line, list[Refusal]()
    asked = asks(linker, table) | set(table.followed)
    for key, wanted in table.wanted.items():
        served = table.serves_library(key)
        bound = linker.hardened_by is Hardened.BOUND and key[1] is None
        weakly = not table.bindings.strongly[key[0]] if bound else None
        user = _asker(table, wanted, asked, weakly=False if served is None else weakly)
        if user is None or key[0] in told or key in indirect:
            continue
        answered = linker.objects_answer and bool(wanted.objects) and not table.line.collect
        if served is False and not answered:
            found.append(Refusal(_text(key), user.path, "defined nowhere that this linker looks"))
        elif (
            served is None and linker.reports_unexported and not (line.shared and linker.unexported_is_fatal)
        ):
            if (
                kept is not None
                and linker.unexported_is_fatal
                and key[0] not in line.defined
                and key[0].encode("utf-8", "surrogateescape") not in kept.defines
            ):
                continue  # the definition is gone, and the linker doesn't look again
            why = "defined by an object that doesn't export it"
            found.append(Refusal(_text(key), user.path, why, True, linker.unexported_is_fatal))
    return found


def _asker(
    table: Table, wanted: UndefinedName, asked: set[ElfObject], *, weakly: bool | None
) -> ElfObject | None:
    """The library in whose name the linker complains; None where it doesn't.

    ``weakly``: how it is bound; None where the references say so.
    """
    linker = table.linker
    strongly = any(not one.weak for one in wanted.objects)
    if not wanted.hard:
        return None
    if linker.first_referrer_counts:
        first = wanted.strong_users[0][1] if wanted.users[0] == wanted.strong_users[0] else None
        return first if first in asked and not strongly else None
    # what mentions a name first says how it is bound, an object goes before a library
    if weakly is None:
        weakly = not strongly and (bool(wanted.objects) or wanted.users[0] != wanted.strong_users[0])
    if linker.hardened_by is not Hardened.ALL and weakly:
        return None
    strong = [library for _, library in wanted.strong_users if library is not None]
    return next((one for one in strong if one in asked), None)


def _text(key: Key) -> str:
    return key[0] if key[1] is None else f"{key[0]}@{key[1]}"
