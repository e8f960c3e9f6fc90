"""Static TLS: room that each thread has from a program's start, too late for what is opened afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from patcher.symbols.elf import ElfObject, UnreadableElfError
from patcher.symbols.elf.constants import DF_STATIC_TLS
from patcher.symbols.elf.image import Image
from patcher.symbols.scope import Scope, provides
from patcher.symbols.search import GLIBC, MUSL

# of the C library, which every program has from its start
_C_LIBRARY = ("libc.", "ld-", "libpthread.", "libm.", "libdl.", "librt.")
SPARE = 1664  # bytes that glibc sets aside at the most, unless it is tuned (TLS_STATIC_SURPLUS)


def opened(scope: Scope) -> list[ElfObject]:
    """What uses static TLS and is opened at run time."""
    if scope.root.executable:
        return []
    items = [item for item in scope.objects if item.flags & DF_STATIC_TLS and item not in scope.company]
    return [item for item in items if not item.name.startswith(_C_LIBRARY)]


def refused(scope: Scope, items: list[ElfObject]) -> Iterator[tuple[ElfObject, str]]:
    """Which of ``items`` the loader can't open in the host that was named: the object, why."""
    if not any(item.executable for item in scope.company):
        return
    rooms = {item: room(item) for item in items}
    total = sum(rooms.values())
    for item, size in rooms.items():
        if scope.libc == MUSL and (size or _wants_of_late(scope, item)):
            yield item, "musl gives static TLS to what is there from the program's start alone"
        elif scope.libc == GLIBC and size and total > SPARE:
            yield item, f"{total} bytes of static TLS are wanted, and glibc has some {SPARE} to spare"


def room(item: ElfObject) -> int:
    """The bytes that an object has in each thread's block."""
    try:
        with Image(item.path) as image:
            return image.thread_local
    except (UnreadableElfError, OSError):
        return 0


def _wants_of_late(scope: Scope, item: ElfObject) -> bool:
    """Whether it uses a thread's own variable of another library that is opened with it."""
    for wanted in item.references:
        if wanted.tls:
            for one in scope.objects:
                if provides(one.exports.of(wanted.name), one, wanted, scope.libc):
                    if one not in scope.company:
                        return True
                    break
    return False
