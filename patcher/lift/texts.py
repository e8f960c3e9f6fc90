"""The texts of a type: what defines it in the tree, and what these alone need, by closure over names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import Definition, conditions_of, with_comment
from patcher.engine.comparison import same, tokens
from patcher.lift.tree_index import LIBRARY, RENAMED, RENAMED_IN, TreeIndex, words
from patcher.lift.type_facts import TypeFacts, functions

FALLBACK = re.compile(r"\s*#\s*define\s+\w+_generic\s+\w+\s*$")
GPU = re.compile(r"CUDA|HIP|MUSA|SYCL|METAL|VULKAN|OPENCL|KOMPUTE")
_NEIGHBOURS = (
    12  # definitions before one that are asked whether BASE has them: the first that it has is the anchor
)


@dataclass(frozen=True)
class Text:
    """One definition of the tree, of which there may be several under conditions that exclude each other."""

    path: str
    name: str
    construct: str  # function, macro, type, table, variable
    lines: tuple[int, int]  # of the tree's file, counted from 1
    spans: tuple[tuple[int, int], ...]  # of the definitions, with the comments above them
    behind: tuple[str, ...]  # what stands before it in the tree and is in BASE, the nearest first
    within: str  # a word of the #if that the whole file's definitions lie in
    template: str
    needed_by: str = ""  # the text that names it; nothing where it names the type itself
    declared: tuple[int, int] | None = None  # where the tree declares it before it defines it, in that file
    early: tuple[str, ...] = ()  # as ``behind``, of that declaration


@dataclass
class Texts:
    """What a closure found."""

    carried: list[Text] = field(default_factory=list)
    changed: dict[tuple[str, str], str] = field(default_factory=dict)  # (path, name) -> who uses it


def own_definitions(tree: TreeIndex, base: TreeIndex, facts: TypeFacts) -> Iterator[tuple[str, Definition]]:
    """What ggml and its CPU backend define under the type's name, and BASE doesn't.

    Of a file that BASE hasn't only what the type's entries name: a fork has operators and tests of its own.
    """
    named = {*functions(tree, facts), f"quantize_{facts.name}", f"quantize_row_{facts.name}_ref", facts.block}
    for path in tree.files:
        if not LIBRARY.fullmatch(path):
            continue
        data = tree.tree.read(path) or b""
        if (
            facts.name.encode() not in data
            and facts.upper.encode() not in data
            and facts.block.encode() not in data
        ):
            continue
        for one in tree.definitions(path):
            if one.construct == "declaration" or not facts.word.fullmatch(one.name):
                continue
            if base.same(path) is None and "/arch/" not in path and one.name not in named:
                continue
            if base.home(path, one.name) is None and not _is_fallback(tree, path, one):
                yield path, one


def _is_fallback(tree: TreeIndex, path: str, one: Definition) -> bool:
    """Whether it is no text, but a name that an architecture without one gives to the plain one."""
    source = tree.source(path)
    return (
        source is not None and one.construct == "macro" and FALLBACK.match(source.line(one.start)) is not None
    )


def closure(
    tree: TreeIndex,
    base: TreeIndex,
    facts: TypeFacts,
    also: Iterable[tuple[str, str]],
    covered: set[tuple[str, str]],
) -> Texts:
    """All definitions that the type needs and BASE lacks.

    ``also`` are (path, text) of what is carried otherwise and may name more; ``covered`` are (path, name) of
    definitions that another text holds.
    """
    found = Texts()
    todo: list[tuple[str, str, str]] = []  # (path, name, who needs it)
    for path, one in own_definitions(tree, base, facts):
        todo.append((path, one.name, ""))
    seen: set[tuple[str, str]] = set()
    for path, text in also:
        written = Source(path, text.encode())
        todo += _wanted(tree, base, found, path, written, 0, len(written.data), "an edit")
    while todo:
        path, name, by = todo.pop(0)
        if (path, name) in seen:
            continue
        seen.add((path, name))
        source = tree.source(path)
        if source is None:
            continue
        there = tree.defined(path, name)
        gpu = [one for one in there if any(GPU.search(said) for said in conditions_of(source, one.start))]
        there = [one for one in there if one not in gpu]
        if not there:
            continue
        for one in there:
            todo += _wanted(tree, base, found, path, source, one.start, one.end, name)
        if (path, name) not in covered:
            found.carried.append(text_of(tree, base, path, there, by))
    found.carried.sort(key=lambda text: (text.path, text.spans[0]))
    found.carried = _behind_what_they_use(tree, base, found.carried)
    return found


def _behind_what_they_use(tree: TreeIndex, base: TreeIndex, carried: list[Text]) -> list[Text]:
    """The texts, each with those neighbours alone that BASE has behind all that the text uses.

    BASE may have a helper further down than the tree does: in C, what comes before it doesn't know it.
    """
    least: dict[tuple[str, str], int] = {}
    out: list[Text] = []
    for one in carried:
        text, source = one, tree.source(one.path)
        places = {
            one.name: one.start for one in base.definitions(text.path) if one.construct != "declaration"
        }
        used = [name for span in text.spans for name in words(source, *span)] if source is not None else []
        others = {other.name for other in carried if other.path == text.path and other.name != text.name}
        if text.declared is not None and text.early and not others & set(used):
            # what needs it stands behind the declaration: there it is defined, and isn't declared
            text = replace(text, behind=text.early, spans=(*text.spans, text.declared))
        after = max(
            (max(places.get(name, -1), least.get((text.path, name), -1)) for name in used), default=-1
        )
        kept = [name for name in text.behind if places.get(name, -1) >= after]
        if not kept and after >= 0:
            kept = [name for name, place in places.items() if place == after]
        least[text.path, text.name] = after
        # those of its own that come before it: another type that was put in first may have brought them
        own = [other.name for other in reversed(out) if other.path == text.path and text is one]
        out.append(replace(text, behind=(*own, *(kept or text.behind))))
    return out


def _wanted(
    tree: TreeIndex, base: TreeIndex, found: Texts, path: str, source: Source, start: int, end: int, by: str
) -> Iterator[tuple[str, str, str]]:
    """The definitions that the bytes name and BASE lacks; those that it has otherwise go into ``found``."""
    for said in words(source, start, end):
        word = RENAMED[said] if said in RENAMED and base.home(path, said) is None else said
        home = tree.home(path, word)
        if home is None:  # another source's, which goes with it where BASE hasn't that source
            home = tree.shared.get(word)
            if home is None or base.same(home) is not None or "/arch/" in home or word in base.shared:
                continue
        if word == by:
            continue
        there = base.home(path, word)
        if there is None:
            # what an architecture's text calls is the plain one; its other name has an edit of its own
            if not all(_is_fallback(tree, home, one) for one in tree.defined(home, word)):
                yield home, word, by
        elif _differs(tree, base, home, there, word):
            found.changed.setdefault((home, word), by)


def _differs(tree: TreeIndex, base: TreeIndex, home: str, there: str, name: str) -> bool:
    """Whether a definition that both have once says something else; in which of several is another matter."""
    ours, theirs = tree.defined(home, name), base.defined(there, name)
    one, other = tree.source(home), base.same(there)
    if len(ours) != 1 or len(theirs) != 1 or one is None or other is None or ours[0].construct == "variable":
        return False
    return not same(
        tokens(one.data[ours[0].start : ours[0].end]), tokens(other.data[theirs[0].start : theirs[0].end])
    )


def text_of(tree: TreeIndex, base: TreeIndex, path: str, there: list[Definition], by: str = "") -> Text:
    """The text of the definitions ``there``, which are one name's."""
    source = tree.source(path)
    if source is None:
        raise KeyError(path)
    name = there[0].name
    within = _within(source, there[0].start) if path.endswith(".h") else ""
    parts, spans = [], []
    for one in there:
        start, end = with_comment(source, one.start), _asserted(source, one)
        spans.append((start, end))
        text = source.text(start, end).replace("\r\n", "\n")
        said = [way for way in conditions_of(source, one.start) if not within or within not in way]
        for way in reversed(said):
            text = f"#if {way}\n{text}\n#endif"
        parts.append(text)
    body = "\n".join(parts)
    first, last = source.line_number(spans[0][0]), source.line_number(spans[-1][1])
    return Text(
        path, name, there[0].construct, (first, last), tuple(spans), _behind(tree, base, path, there[0]),
        within, renamed(body, path) + verbatim(body) + "\n", by, *_declared(tree, base, path, there[0]),
    )  # fmt: skip


def _asserted(source: Source, one: Definition) -> int:
    """Where a definition ends; of a type, behind the assertion of its size that follows it."""
    if one.construct != "type":
        return one.end
    said = re.compile(rb"\s*static_assert\s*\(\s*sizeof\s*\(\s*%b\s*\)[^;{}]*;" % one.name.encode())
    found = said.match(source.code, one.end)
    return found.end() if found is not None else one.end


def _declared(
    tree: TreeIndex, base: TreeIndex, path: str, one: Definition
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Where a source declares what it defines further down, and what stands before that and is in BASE."""
    source = tree.source(path)
    for other in tree.definitions(path) if not path.endswith(".h") and source is not None else ():
        if other.construct == "declaration" and other.name == one.name and other.start < one.start:
            span = (source.line_start(other.start), source.line_end(other.end - 1)) if source else None
            return span, _behind(tree, base, path, other)
    return None, ()


def _within(source: Source, start: int) -> str:
    """The word of the outermost condition that ``start`` lies in."""
    said = conditions_of(source, start)
    found = re.search(r"[A-Za-z_]\w*", said[0].replace("defined", "")) if said else None
    return found.group() if found is not None else ""


def _behind(tree: TreeIndex, base: TreeIndex, path: str, one: Definition) -> tuple[str, ...]:
    """The definitions before ``one`` that BASE has once in that file, the nearest first."""
    before = [
        other
        for other in tree.definitions(path)
        if other.start < one.start and other.construct != "declaration"
    ]
    named: list[str] = []
    for other in reversed(before):
        if other.name not in named and len(base.defined(path, other.name)) == 1:
            named.append(other.name)
        if len(named) == _NEIGHBOURS:
            break
    return tuple(named)


_PARAMETERS = re.compile(r"\(([^()]*)\)\s*\{")


def forwarded(name: str, text: str, apart: list[str]) -> str:
    """What follows the plain text ``name`` in releases that have no arch-fallback.h: the function itself,
    which calls it, for the architectures without a text of their own. ``apart`` are macros of the others."""
    found = _PARAMETERS.search(text)
    if found is None:
        return ""
    parameters = " ".join(found[1].split())
    declared = (one.rstrip().removesuffix("[]").rstrip() for one in parameters.split(","))
    arguments = ", ".join(re.split(r"\W", one)[-1] for one in declared)
    native = " || ".join(f"defined({word})" for word in apart) or "0"
    own = name.removesuffix("_generic")
    return (
        '{% if not has("ggml/src/ggml-cpu/arch-fallback.h") %}\n\n'
        '{% if has("ggml/src/ggml-cpu/arch/x86/quants.c") %}\n'
        f"#if defined(GGML_CPU_GENERIC) || !({native})\n{{% endif %}}\n"
        f"void {own}({parameters}) {{\n    {name}({arguments});\n}}\n"
        '{% if has("ggml/src/ggml-cpu/arch/x86/quants.c") %}\n#endif\n{% endif %}\n{% endif %}\n'
    )


_JINJA = re.compile(r"\{[{%#]")


def verbatim(text: str) -> str:
    """A template that renders to ``text``, whatever stands in it."""
    return f"{{% raw %}}{text}{{% endraw %}}" if _JINJA.search(text) else text


def as_element(text: str) -> str:
    """A template of an element: on a line of its own, or behind another one in its line."""
    before, behind = '{{ ", " if site.inline is defined }}', '{{ "," if site.inline is not defined }}'
    return f"{before}{verbatim(text)}{behind}\n"


def renamed(text: str, path: str) -> str:
    """What comes before a text that uses a macro under a name that older releases don't know."""
    used = [name for name in RENAMED if re.search(rf"\b{name}\b", text)] if "/ggml-cpu/" in path else []
    return "".join(
        f'{{% if not has("{RENAMED_IN}", "define {name}\\\\b") %}}\n#ifndef {name}\n'
        f"#define {name} {RENAMED[name]}\n#endif\n{{% endif %}}\n"
        for name in used
    )
