"""Names that a library has to export: what its host looks for when it opens it (``dlsym``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from patcher.base.errors import UsageError
from patcher.symbols.elf import ElfObject
from patcher.symbols.hidden import hidden_definitions


def not_exported(
    patterns: Iterable[str], given: list[ElfObject], plugins: list[ElfObject]
) -> Iterator[tuple[ElfObject, str, str, str]]:
    """Each file that lacks an entry: file, name, why, advice.

    ``NAME`` counts for ``plugins``, which nobody loads by name; ``FILE!NAME`` for the ``given`` files of
    such a name. Raises :class:`UsageError` where there is no such file.
    """
    for pattern in patterns:
        place, bang, name = pattern.rpartition("!")
        meant = [one for one in given if fnmatchcase(one.path.name, place)] if bang else plugins
        if not meant or not name:
            looked = f"a file like {place}" if bang else "a library that is opened as a plugin"
            raise UsageError(
                f"--must-export {pattern}: looked for {looked}, found none",
                hint="write FILE!NAME, FILE as the file is called",
            )
        for item in meant:
            if name not in item.exports:
                yield (item, name, *_why(item, name))


def _why(item: ElfObject, name: str) -> tuple[str, str]:
    hidden = hidden_definitions(item.path, {name.encode("utf-8", "surrogateescape"): name}).get(name)
    if hidden is not None and not hidden.exported:
        advice = "export it: visibility default, and 'global' in its version script if it has one"
        return f"{item.name} defines it, but {hidden.why}", advice
    if any(reference.name == name for reference in item.references):
        return f"{item.name} uses it and doesn't define it", "link the object that defines it"
    start = f"_Z{len(name)}{name}"
    if any(other.startswith(start) for other in item.exports):
        return f"{item.name} exports it with C++ linkage", f'declare it extern "C": the name is {name} then'
    return (
        f"{item.name} doesn't define it",
        "link the object that defines it (from an archive: --whole-archive, or -u)",
    )
