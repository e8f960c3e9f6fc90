"""The rules of verify-symbols: what each means, who refuses it, what to do. Ids are stable."""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


class Rule(NamedTuple):
    """What findings of one id have in common."""

    id: str
    severity: str
    summary: str
    explanation: str


_ALL = (
    Rule(
        "undefined-symbol",
        "error",
        "A symbol that is used is defined nowhere in what is loaded.",
        "With LD_BIND_NOW, or for data, the program doesn't start; else it dies when the function is first\n"
        "called. ld.bfd refuses it in any library that it can reach; gold and lld only where all libraries\n"
        "that the library needs are on the link line; mold 2.40 and newer not at all where one is not.\n"
        "--allow-shlib-undefined hides it from all of them. Add the definition, or the library that has it.",
    ),
    Rule(
        "version-mismatch",
        "error",
        "A symbol or a library lacks the version that is wanted.",
        "The library that was found is older than the one that was linked against, or another build of it.\n"
        "The loader refuses to start the program. Ship the right library, or link against the one shipped.",
    ),
    Rule(
        "hidden-definition",
        "error",
        "A symbol that is used is defined, but not exported.",
        "The definition has hidden visibility (-fvisibility=hidden without an attribute, a version script),\n"
        "or is static. ld.bfd, gold and lld 18 and newer refuse the link; the loader can't see it either.\n"
        'Export it (GGML_API, LLAMA_API, __attribute__((visibility("default")))) or stop using it.',
    ),
    Rule(
        "library-not-found",
        "error",
        "A library that is needed is in none of the folders that the loader searches.",
        "The program doesn't start. Set a RUNPATH ($ORIGIN), install the library, or name its folder with\n"
        "--library-path. What it would define isn't known, so nothing is said of the symbols of those that\n"
        "lead to it. --assume-library NAME says that it will be there, NAME=FILE what it will have.",
    ),
    Rule(
        "interpreter-not-found",
        "error",
        "The loader that a program names is not there, or is one for another machine.",
        "The kernel starts no such program; shells say 'No such file or directory' of a file that is there.\n"
        "It was made for another C library (musl), another system (Nix), or its 32-bit system isn't here.\n"
        "Install that loader, or link the program here; --sysroot names the system that it is meant for.",
    ),
    Rule(
        "tls-mismatch",
        "error",
        "A variable that each thread has for itself is plain on the other side.",
        "One side declares it __thread or thread_local and the other doesn't. Linkers refuse that; a loader\n"
        "binds it and takes an address for an offset: the program reads and writes somewhere else. Declare\n"
        "it alike on both sides, and build both again.",
    ),
    Rule(
        "unreadable-file",
        "error",
        "A file that is given or needed is not a sound ELF file, and the loader stops at it.",
        "It is cut off, its tables lead out of the file, or the first file of a name that is needed is no\n"
        "library at all: a lost link, a Git LFS pointer, a linker script ('file too short', 'invalid ELF\n"
        "header'). The loader doesn't look further for one that would do. Build or copy it again, or take\n"
        "it away. Programs, libraries and folders that may not be opened are listed here, too.",
    ),
    Rule(
        "not-exported",
        "error",
        "A library doesn't export a name that it has to (--must-export).",
        "Whoever opens it looks the name up and finds nothing. Its definition is hidden, has C++ linkage,\n"
        "is in an object that the linker left out of an archive, or isn't there.",
    ),
    Rule(
        "too-new",
        "error",
        "A newer version of a system's library is needed than --at-most allows.",
        "The loader of an older system refuses it: 'version GLIBC_2.34 not found'. Build on a system as old\n"
        "as the oldest that it has to run on (an image of manylinux), or ship that library along.",
    ),
    Rule(
        "host-not-named",
        "error",
        "Plugins lack what the program has that opens them, and nobody says which program that is.",
        "Modules of an interpreter, a server or a compiler lack all of its names. It is one finding for all\n"
        "of one host, with their number. Name the program with --host, or --host 'GLOB=PROGRAM' for the\n"
        "files that it opens: then each is checked in its company, and what is lacking even so is told.",
    ),
    Rule(
        "readers-disagree",
        "error",
        "Two readers of ELF files that know nothing of each other read a file differently.",
        "The fast one, whose findings these are, and one that is built on pyelftools. One of them is wrong,\n"
        "so nothing is proven. Please report it, with the file if it may be shown.",
    ),
    Rule(
        "underlinked",
        "warning",
        "A library uses a symbol that none of the libraries it names provides; another one happens to.",
        "It works as long as the program loads the provider for other reasons. Link the library against it\n"
        "(-Wl,-z,defs finds this when the library is linked).",
    ),
    Rule(
        "build-tree-leak",
        "warning",
        "A search path, or a library that is needed by its path, leads to the right place here only.",
        "An absolute one leads into another build folder, or to one that isn't there: the program works\n"
        "where it was built and nowhere else, or picks up another build. A relative one counts from the\n"
        "folder that the program is started in. Use $ORIGIN, or CMAKE_BUILD_RPATH_USE_ORIGIN, and give\n"
        "libraries a soname. A path into the file's own build folder is not reported.",
    ),
    Rule(
        "runpath-only",
        "note",
        "A library is found only through the RUNPATH of the object that needs it.",
        "The loader finds it; a linker that follows NEEDED entries needs -rpath-link or the same RUNPATH.",
    ),
    Rule(
        "static-tls-refused",
        "error",
        "A library uses more static TLS than is left when its host opens it.",
        "The host was named, so it is known that the library is opened at run time: musl gives no room\n"
        "then, glibc some 1,664 bytes ('cannot allocate memory in static TLS block'). Compile it with\n"
        "-ftls-model=global-dynamic, link the host against it, preload it, or tune glibc and ignore this.",
    ),
    Rule(
        "static-tls",
        "note",
        "A library that is opened at run time uses static TLS.",
        "Room for it is set aside when a program starts, and there is little to spare (some 1,600 bytes in\n"
        "glibc; musl has none): 'cannot allocate memory in static TLS block'. Compile it with\n"
        "-ftls-model=global-dynamic, link the program against it, preload it, or raise\n"
        "GLIBC_TUNABLES=glibc.rtld.optional_static_tls.",
    ),
    Rule(
        "loader-ok",
        "note",
        "A symbol is missing, or a linker would say so, and the loader accepts it.",
        "A weak reference without a definition: the program is meant to test for null, and loader and\n"
        "linkers accept it; listed because one that should have been strong looks the same. Or a linker\n"
        "would refuse it and the loader doesn't: a version is wanted that a library has no more, and\n"
        "another has the symbol without versions; or a library has it that is preloaded.",
    ),
    Rule(
        "expired-ignore",
        "warning",
        "An entry of the ignore file is past its date.",
        "What it hid is reported again. Fix it, or give the entry a new date and a reason.",
    ),
    Rule(
        "unused-ignore",
        "note",
        "An entry of the ignore file, or an --ignore, hides nothing.",
        "What it was for is gone: take it out, before it hides something else.",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
