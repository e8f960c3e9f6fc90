"""A linker's arguments (not a compiler driver's) as what matters to undefined symbols."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

# Options whose value is the next argument, if it isn't joined by "=".
_VALUED = frozenset(
    (
        "o", "m", "e", "h", "soname", "L", "l", "rpath", "rpath-link", "dynamic-linker", "I", "T", "z", "u",
        "undefined", "y", "Map", "version-script", "dynamic-list", "exclude-libs", "plugin", "plugin-opt",
        "sysroot", "defsym", "wrap", "A", "b", "format", "G", "f", "F", "filter", "auxiliary", "init", "fini",
        "R", "section-start", "Ttext", "Tdata", "Tbss", "Ttext-segment", "retain-symbols-file", "image-base",
        "export-dynamic-symbol", "export-dynamic-symbol-list", "just-symbols", "library", "library-path",
        "output", "entry", "emulation", "script", "hash-style", "unresolved-symbols", "build-id-file",
        "sort-section", "max-page-size", "out-implib", "dependency-file", "default-symver-file",
        "thinlto-cache-dir", "lto-O", "mllvm", "require-defined",
    )
)  # fmt: skip
# One letter, the value joined to it.
_JOINED = ("L", "l", "u", "T", "m", "R", "o", "e", "h", "z", "y")
_LONG = {"library": "l", "library-path": "L", "output": "o", "undefined": "u", "entry": "e"}


UNRESOLVED = ("ignore-all", "report-all", "ignore-in-object-files", "ignore-in-shared-libs")
# In an expression: a word, in quotes where it likes; what is a function's and no symbol's; and a number.
_EXPRESSION = re.compile(
    r"(?:DEFINED|SIZEOF|ADDR|LOADADDR|ALIGNOF|CONSTANT|ORIGIN|LENGTH)\s*\([^)]*\)"
    r"|(?:ABSOLUTE|ALIGN|BLOCK|MAX|MIN|NEXT|LOG2CEIL|SEGMENT_START|DATA_SEGMENT_\w+)(?=\s*\()|SIZEOF_HEADERS|\d\w*"
    r"|(?P<symbol>\"[^\"]*\"|[A-Za-z_$.][\w.$]*)"
)


@dataclass(frozen=True)
class Operand:
    """One input: a ``file``, or a library's ``name`` as in ``-lNAME``; and the flags in force there."""

    text: str
    is_name: bool = False
    as_needed: bool = False
    whole_archive: bool = False
    static: bool | None = None  # by the last -Bstatic or -Bdynamic before it
    group: int = 0  # of --start-group; 0 is none
    copy_needed: bool = False
    at: int = 0  # its place among them
    lazy: bool = False  # between --start-lib and --end-lib: an object is as an archive's member


@dataclass
class LinkLine:
    """One link."""

    folder: Path
    output: Path = Path("a.out")
    operands: list[Operand] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    rpath: list[str] = field(default_factory=list)
    rpath_link: list[str] = field(default_factory=list)
    sysroot: str | None = None
    shared: bool = False
    pie: bool = False
    relocatable: bool = False
    static: bool = False
    starts_static: bool = False  # where the last -Bstatic or -Bdynamic counts for what stands before any, too
    warn_only: bool = False
    anyway: bool = False  # --noinhibit-exec
    # What was said of undefined symbols, in its order: --unresolved-symbols' value, "defs" and "undefs" (-z),
    # "allow" and "refuse" (--[no-]allow-shlib-undefined)
    policy: list[str] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)  # --defsym, --undefined don't come from any file
    needed_by_defsym: dict[str, int] = field(default_factory=dict)  # what one names: the inputs before it
    asked_for: set[str] = field(default_factory=set)  # --undefined
    wrapped: set[str] = field(default_factory=set)  # --wrap
    scripts: list[str] = field(default_factory=list)  # -T
    version_script: Path | None = None
    files: list[Path] = field(default_factory=list)  # others that options name, and that have to be there
    symbol_files: list[tuple[str, Path]] = field(default_factory=list)  # --just-symbols and -R
    dynamic_lists: list[Path] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)  # patterns of --export-dynamic-symbol
    export_all: bool = False  # --export-dynamic
    collect: bool = False  # --gc-sections
    entry: str | None = None
    required: set[str] = field(default_factory=set)  # --require-defined
    kept: set[str] = field(default_factory=set)  # -init and -fini
    undefined_version: bool | None = None  # what was said outright
    demangles: bool = True
    excluded_archives: set[str] = field(default_factory=set)
    options: list[str] = field(default_factory=list)  # all other options, by name
    left_out: list[str] = field(default_factory=list)  # what a compiler driver would have obeyed
    aliases: dict[str, str] = field(default_factory=dict)  # --defsym x=y, a name for another one
    circular: set[str] = field(default_factory=set)  # --defsym x=x, which defines nothing

    @property
    def mentioned(self) -> set[str]:
        """What a ``--defsym`` names before any input does."""
        return {name for name, at in self.needed_by_defsym.items() if not at}

    @property
    def unresolved(self) -> str:
        """The last value of --unresolved-symbols; empty where there is none."""
        return next((one for one in reversed(self.policy) if one in UNRESOLVED), "")


def parse(arguments: list[str], folder: Path) -> LinkLine:
    """Read a linker's arguments, its own name left out; paths are relative to ``folder``."""
    line = LinkLine(folder)
    state, saved = Operand(""), []
    groups, todo = 0, list(reversed(_expanded(arguments, folder, 0)))
    while todo:
        argument = todo.pop()
        if not argument.startswith("-") or argument == "-":
            line.operands.append(replace(state, text=argument, at=len(line.operands)))
            continue
        name, value = _split(argument, todo)
        if name == "l" and value is not None:
            line.operands.append(replace(state, text=value, is_name=True, at=len(line.operands)))
        elif name in ("as-needed", "no-as-needed"):
            state = replace(state, as_needed=name == "as-needed")
        elif name in ("whole-archive", "no-whole-archive"):
            state = replace(state, whole_archive=name == "whole-archive")
        elif name in ("Bstatic", "dn", "non_shared", "static"):
            state = replace(state, static=True)
            line.static = line.static or name == "static"
        elif name in ("Bdynamic", "dy", "call_shared"):
            state = replace(state, static=False)
        elif name in ("copy-dt-needed-entries", "add-needed", "no-copy-dt-needed-entries", "no-add-needed"):
            state = replace(state, copy_needed=not name.startswith("no-"))
            line.options.append(f"--{name}")
        elif name in ("start-lib", "end-lib"):
            state = replace(state, lazy=name == "start-lib")
            line.options.append("--start-lib")
        elif name == "push-state":
            saved.append(state)
        elif name == "pop-state" and saved:
            state = saved.pop()
        elif name in ("start-group", "("):
            groups += 1
            state = replace(state, group=groups)
        elif name in ("end-group", ")"):
            state = replace(state, group=0)
        else:
            _option(line, name, value)
    line.starts_static = bool(state.static)
    return line


def _expanded(arguments: list[str], folder: Path, depth: int) -> list[str]:
    """Response files (``@FILE``) put in."""
    import shlex

    out: list[str] = []
    for argument in arguments:
        file = folder / argument[1:]
        if argument.startswith("@") and depth < 8 and file.is_file():
            text = file.read_text(encoding="utf-8", errors="surrogateescape")
            out += _expanded(shlex.split(text), folder, depth + 1)
        else:
            out.append(argument)
    return out


def _split(argument: str, todo: list[str]) -> tuple[str, str | None]:
    """An option's name without dashes, and its value, which may be taken from ``todo``."""
    body = argument.lstrip("-")
    name, equals, value = body.partition("=")
    if equals and not (argument[:2] in ("-l", "-L", "-o", "-z", "-u") and argument[:3] != "--"):
        return _LONG.get(name, name), value
    single = not argument.startswith("--")
    if body in _VALUED:
        return _LONG.get(body, body), todo.pop() if todo else None
    known = body in (
        "Bstatic",
        "Bdynamic",
        "as-needed",
        "no-undefined",
        "shared",
        "static",
        "pie",
        "relocatable",
    )
    if single and body[:1] in _JOINED and len(body) > 1 and not known and not _is_word(body):
        return body[0], body[1:]
    return body, None


def _is_word(body: str) -> bool:
    """Single-dash long options that begin like a one-letter one."""
    words = (
        "export",
        "emit",
        "error",
        "enable",
        "merge",
        "undefined",
        "unresolved",
        "unique",
        "trace",
        "omagic",
    )
    return body.startswith((*words, "hash-", "lto", "eh-frame", "eb", "el", "relax", "EB", "EL", "Trust"))


def symbols_in(expression: str) -> list[str]:
    """The symbols that have to be there for a linker's expression; of ``a ? b : c`` it is ``a``'s."""
    words = (one["symbol"] for one in _EXPRESSION.finditer(expression.partition("?")[0]))
    return [word.strip('"') for word in words if word is not None and word != "."]


def _option(line: LinkLine, name: str, value: str | None) -> None:
    if name in ("shared", "Bshareable"):
        line.shared = True
    elif name in ("pie", "pic-executable"):
        line.pie = True
    elif name in ("r", "i", "relocatable"):
        line.relocatable = True
    elif name == "o" and value:
        line.output = Path(value)
    elif name == "L" and value:
        line.search.append(value)
    elif name == "rpath" and value:
        line.rpath += value.split(":")
    elif name == "rpath-link" and value:
        line.rpath_link += value.split(":")
    elif name == "sysroot":
        line.sysroot = value or None
    elif name in ("allow-shlib-undefined", "no-allow-shlib-undefined"):
        line.policy.append("allow" if name[0] == "a" else "refuse")
    elif name == "unresolved-symbols" and value:
        line.policy.append(value)
    elif name in ("warn-unresolved-symbols", "error-unresolved-symbols"):
        line.warn_only = name[0] == "w"
    elif name == "noinhibit-exec":
        line.anyway = True
    elif name == "retain-symbols-file" and value:
        line.files.append(line.folder / value)
    elif name in ("just-symbols", "R") and value:
        line.symbol_files.append((name, line.folder / value))
        line.options.append("--just-symbols")
    elif name == "no-undefined" or (name == "z" and value == "defs"):
        line.policy.append("defs")
    elif name == "z" and value == "undefs":
        line.policy.append("undefs")
        line.options.append("-z undefs")
    elif name == "defsym" and value:
        symbol, _, expression = value.partition("=")
        line.defined.add(symbol)
        if symbol == expression:
            line.circular.add(symbol)
        for name in symbols_in(expression):
            line.needed_by_defsym.setdefault(name, len(line.operands))
            if expression.strip(' ()"') == name != symbol:
                line.aliases[symbol] = name
    elif name == "u" and value:
        line.asked_for.add(value)
    elif name in ("gc-sections", "no-gc-sections"):
        line.collect = name[0] == "g"
    elif name in ("export-dynamic", "E", "no-export-dynamic"):
        line.export_all = name[0] != "n"
    elif name in ("undefined-version", "no-undefined-version"):
        line.undefined_version = name[0] == "u"
        line.options.append(f"--{name}")
    elif name in ("demangle", "no-demangle"):
        line.demangles = name[0] == "d"
    elif name == "e":
        line.entry = value
    elif name in ("init", "fini") and value:
        line.kept.add(value)
    elif name == "require-defined" and value:
        line.required.add(value)
        line.asked_for.add(value)
        line.options.append(f"--{name}")
    elif name == "dynamic-list" and value:
        line.dynamic_lists.append(line.folder / value)
    elif name == "export-dynamic-symbol" and value:
        line.exported.append(value)
    elif name == "wrap" and value:
        line.wrapped.add(value)
    elif name in ("T", "script") and value:
        line.scripts.append(value)
    elif name == "version-script" and value:
        line.version_script = line.folder / value
    elif name == "exclude-libs" and value:
        line.excluded_archives.update(value.replace(":", ",").split(","))
    else:
        line.options.append(f"--{name}")
