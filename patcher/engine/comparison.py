"""What a tree has under our name, compared with what we would write there.

Texts are compared by their tokens: comments and space don't count. A difference is *hard* where the two
can't both be true (another number, other fields, another signature, a body that does nothing): then
somebody has to choose. It is *soft* where both could be right (another body of the same function): it is
named everywhere, and stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from patcher.engine import patterns
from patcher.engine.anchors import ANCHORS, Existing, Located, Source
from patcher.engine.anchors.cmake import code_of
from patcher.engine.anchors.conditions import twice
from patcher.engine.anchors.definitions import definitions
from patcher.engine.anchors.source import blank_run
from patcher.engine.anchors.syntax import Syntax
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.tree import Tree
from patcher.engine.tree_record import text_hash

_TOKEN = re.compile(r"\w+|[^\w\s]")
_COMMENT = re.compile(rb"//[^\n]*|/\*(?:.|\n)*?(?:\*/|\Z)")
_PY_COMMENT = re.compile(rb"(?m)^[ \t]*#[^\n]*|[ \t]#[^\n\"']*$")


@dataclass(frozen=True)
class Deviation:
    """One place that says something else than ours would."""

    there: Existing
    line: int
    detail: str
    hard: bool
    may_be_equal: bool = True  # it is another text, which may say the same

    def __str__(self) -> str:
        return self.detail


def tokens(data: bytes, *, python: bool = False) -> str:
    """The text with comments dropped and one space between tokens: what the compiler would compare."""
    code = (_PY_COMMENT if python else _COMMENT).sub(lambda found: blank_run(found.group()), data)
    return " ".join(_TOKEN.findall(code.decode("utf-8", "replace"))).rstrip(" ,;")


def part_of(edit: Edit, rendered: str) -> str:
    """The tokens of that part of our text which the edit's anchor finds again once it is there."""
    text = rendered.encode("utf-8", "surrogateescape")
    python = edit.files[0].endswith(".py")
    if edit.kind == "function" and not python:
        found = _function(text, str(edit.anchor["ours"]))
        return tokens(found if found is not None else text)
    if edit.kind == "definition":
        there = [one for one in definitions(Source("ours.c", text)) if one.name == edit.anchor["ours"]]
        return tokens(text[there[0].start : there[0].end] if there else text)
    if edit.kind == "py-branch":
        return tokens(text, python=True).removeprefix("el")
    return tokens(text, python=python)


def _function(text: bytes, name: str) -> bytes | None:
    """The definition of ``name`` in ``text``; None where it has none."""
    syntax = Syntax(Source("ours.cpp", text))
    for node in syntax.tree.root_node.named_children:
        if node.type == "function_definition" and syntax.function_name(node) == name:
            return text[node.start_byte : node.end_byte]
    return None


def differences(
    tree: Tree, patchset: PatchSet, edit: Edit, source: Source, located: Located
) -> list[Deviation]:
    """How what is there under our name differs from ours, place by place."""
    if edit.kind == "case" and not edit.anchor.get("arm"):
        return [_other_arm(source, there) for there in located.existing if _has_other_arm(source, there)]
    if edit.kind == "cmake-item":
        return list(_lacking(patchset.render(edit, tree, {}), source, located))
    if edit.kind == "comparison":
        return list(_other_conditions(tree, patchset, edit, source, located))
    if edit.kind == "statement":
        return list(_other_statements(patchset.render(edit, tree, {}), source, located))
    if edit.kind == "item":
        rendered = patchset.render(edit, tree, {})
        if not edit.compare:
            return list(_other_statements(rendered, source, located))
        parts = _compared(patchset, edit, rendered, source, located)
        return parts or list(_lost_items(edit, rendered, source, located))
    if not (edit.exact or edit.signature or _is_compared(edit)):
        return []
    return _compared(patchset, edit, patchset.render(edit, tree, {}), source, located)


def _compared(
    patchset: PatchSet, edit: Edit, rendered: str, source: Source, located: Located
) -> list[Deviation]:
    """Each place whose own span is the whole of what we would write."""
    ours = part_of(edit, rendered) if located.existing else ""
    python = source.path.endswith(".py")
    found: list[Deviation] = []
    for there in located.existing:
        theirs = tokens(source.data[there.start : there.end], python=python)
        said = _difference_of(patchset, edit, ours, theirs)
        if said is not None:
            line = source.line_number(there.start)
            detail, hard = said
            found.append(Deviation(there, line, f"{there.owner} in line {line}, {detail}", hard))
    return found


def _lacking(rendered: str, source: Source, located: Located) -> Iterator[Deviation]:
    """The arguments of ours that the file's list has lost."""
    words = set(code_of(source).decode("utf-8", "replace").replace(")", " ").split())
    lost = [word for word in rendered.split() if word not in words]
    for there in located.existing[:1] if lost else ():
        yield Deviation(
            there, source.line_number(there.start), f"{there.owner} without {', '.join(lost)}", True
        )


def _lost_items(edit: Edit, rendered: str, source: Source, located: Located) -> Iterator[Deviation]:
    """What stands beside the compared item in our text, a macro or an assertion, and isn't in the file."""
    ours = rendered.encode()
    nodes = Syntax(Source("ours.cpp", ours)).tree.root_node.named_children
    items = [tokens(ours[node.start_byte : node.end_byte]) for node in nodes]
    there = tokens(source.data)
    lost = [one for one in items if one and one not in there and not _part(edit, one)]
    for place in located.existing[:1] if lost else ():
        said = "; ".join(f"'{' '.join(one.split()[:12])}'" for one in lost)
        detail = f"{place.owner} in line {source.line_number(place.start)}, without {said}"
        yield Deviation(place, source.line_number(place.start), detail, False)


_ROOM = 400  # bytes around what tells that a statement is there


def _other_statements(rendered: str, source: Source, located: Located) -> Iterator[Deviation]:
    """Statements of ours of which the pattern is there, and not all the rest."""
    ours = tokens(rendered.encode())
    room = 2 * len(rendered) + _ROOM
    whole = [
        there
        for there in located.existing
        if ours in tokens(source.data[max(0, there.start - room) : there.end + room])
        and tokens(source.data[there.start : there.end]) in ours
    ]
    if whole:
        said = twice(source, f"the statement of {whole[0].owner}", [there.start for there in whole])
        if said is not None:
            yield Deviation(whole[1], source.line_number(whole[1].start), said, True, may_be_equal=False)
        return
    for there in located.existing[:1]:
        line = source.line_number(there.start)
        detail = f"{there.owner} in line {line}, in another form than '{' '.join(ours.split()[:8])} ...'"
        yield Deviation(there, line, detail, False)


def _other_conditions(
    tree: Tree, patchset: PatchSet, edit: Edit, source: Source, located: Located
) -> Iterator[Deviation]:
    """Conditions that name our type beside what the edit hangs on, and ask something else of it."""
    for there in located.existing:
        if there.values is None:
            continue
        ours = tokens(patchset.render(edit, tree, there.values).encode("utf-8", "surrogateescape"))
        theirs = tokens(source.data[there.start : there.end])
        if ours not in theirs:
            line = source.line_number(there.start)
            begins = theirs.find(tokens(str(there.values["expr"]).encode("utf-8", "surrogateescape")))
            said = unlike(ours, theirs[max(0, begins) :])
            yield Deviation(there, line, f"{there.owner} in line {line}, {said}", False)


def _has_other_arm(source: Source, there: Existing) -> bool:
    return there.twin is not None and _statements(source, (there.start, there.end)) != _statements(
        source, there.twin
    )


def _other_arm(source: Source, there: Existing) -> Deviation:
    line = source.line_number(there.start)
    ours, theirs = _statements(source, there.twin or (0, 0)), _statements(source, (there.start, there.end))
    detail = f"{there.owner} in line {line}, with an arm of its own, {unlike(ours, theirs)}"
    return Deviation(there, line, detail, True)


def _statements(source: Source, span: tuple[int, int]) -> str:
    """The tokens of an arm without its label."""
    return tokens(source.data[slice(*span)]).partition(" : ")[2]


def _is_compared(edit: Edit) -> bool:
    kind = ANCHORS.get(edit.kind)
    return (kind is not None and kind.is_whole) or (edit.kind == "case" and bool(edit.anchor.get("arm")))


def _difference_of(patchset: PatchSet, edit: Edit, ours: str, theirs: str) -> tuple[str, bool] | None:
    """What is said of a difference, and whether it is hard; None for none."""
    if edit.signature is not None:
        wanted, found = (signature(text, edit.signature) for text in (ours, theirs))
        if wanted is not None and found is not None and not _interchangeable(wanted, found, patchset):
            return unlike(wanted, found), True
        if edit.kind != "function" or same(ours, theirs):
            return None
        if theirs.startswith("static ") and not ours.startswith("static "):
            return "static, where other files call it", True
        if _does_nothing(theirs):
            return "with a body that does nothing", True
        return unlike(ours, theirs), False
    if edit.compare is not None:
        wanted, found = _part(edit, ours), _part(edit, theirs)
        return None if wanted == found else (unlike(wanted or ours, found or theirs), True)
    if edit.kind in ("py-branch", "py-definition"):
        return None if ours in theirs else (unlike(ours, theirs), False)
    if same(ours, theirs):
        return None
    return unlike(ours, theirs), edit.exact


_NOTHING = re.compile(r"(?:GGML_)?UNUSED \( \w+ \)|assert \( [^;]* \)|\( void \) \w+|return(?: 0)?")


def _does_nothing(text: str) -> bool:
    """Whether a function's body, given as tokens, has no statement that computes anything."""
    body = text[text.find("{") + 1 : text.rfind("}")] if "{" in text else ""
    return all(not part.strip() or _NOTHING.fullmatch(part.strip()) for part in body.split(";"))


_QUALIFIER = re.compile(r"\b(?:GGML_RESTRICT|restrict|__restrict|RESTRICT) ?")


def same(ours: str, theirs: str) -> bool:
    """Whether two token texts are one: ``restrict`` and what a compiler prints of defined() don't count."""
    return _plain(ours) == _plain(theirs)


def _plain(text: str) -> str:
    text = _QUALIFIER.sub("", text)
    return re.sub(r"\bdefined \( (\w+) \)", r"defined \1", text).rstrip(" ,;")


def signature(text: str, function: str) -> str | None:
    """The types of a function's parameters, out of its text with one space between tokens.

    Names and ``restrict`` say nothing to a caller and are left out.
    """
    found = re.search(rf"\b{re.escape(function)} \(([^()]*)\)", text)
    if found is None:
        return None
    parameters = []
    for one in _QUALIFIER.sub("", found.group(1)).split(","):
        words = one.split()
        if len(words) > 1 and re.fullmatch(r"[A-Za-z_]\w*", words[-1]):
            words.pop()  # the parameter's name
        parameters.append(" ".join(words))
    return " , ".join(parameters)


def _interchangeable(ours: str, theirs: str, patchset: PatchSet) -> bool:
    """Whether C takes one for the other at every call: blocks may go by ``void *``."""
    block = rf"\bblock_{patchset.type.name} \*"
    return re.sub(block, "void *", ours) == re.sub(block, "void *", theirs)


def unlike(wanted: str, found: str) -> str:
    """Where two token texts part, with a little of what follows."""
    ours, theirs = wanted.split(), found.split()
    alike = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    start = max(0, (min(len(ours), len(theirs)) if alike is None else alike) - 3)
    return f"as '{' '.join(theirs[start : start + 8])}' instead of '{' '.join(ours[start : start + 8])}'"


def _part(edit: Edit, text: str) -> str | None:
    found = patterns.search(edit, "compare", text)
    return found.group(1) if found else None


def written_before(patchset: PatchSet, edit: Edit, source: Source, there: Existing) -> bool:
    """Whether what is there is a text of ours that an earlier release of this tool put there."""
    python = source.path.endswith(".py")
    return text_hash(tokens(source.data[there.start : there.end], python=python)) in patchset.wrote.get(
        edit.id, ()
    )
