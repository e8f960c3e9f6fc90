"""The rules of verify-symbols: what each means, who refuses it, what to do. Ids are stable."""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


class Rule(NamedTuple):
    """One kind of finding."""

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
        "--library-path. What such a library would define can't be checked and is not reported.",
    ),
    Rule(
        "unreadable-file",
        "error",
        "A file that is given or needed begins like an ELF file and is not a sound one.",
        "It is cut off, or its tables lead out of the file. The loader refuses it, or dies of it. Build or\n"
        "copy it again. Programs, libraries and folders that may not be opened are listed here, too.",
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
        "An absolute RUNPATH or RPATH leads into another build folder, or to one that isn't there.",
        "The program works where it was built and nowhere else, or picks up another build. Use $ORIGIN, or\n"
        "CMAKE_BUILD_RPATH_USE_ORIGIN. A path into the file's own build folder is not reported.",
    ),
    Rule(
        "runpath-only",
        "note",
        "A library is found only through the RUNPATH of the object that needs it.",
        "The loader finds it; a linker that follows NEEDED entries needs -rpath-link or the same RUNPATH.",
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
