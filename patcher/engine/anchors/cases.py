"""Anchors in a ``switch``: a case beside its sibling's, in the same group.

One module, however long: all of it answers where in one ``switch`` a label belongs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from patcher.engine.anchors.conditions import Condition, own_condition, twice
from patcher.engine.anchors.focus import Wanted
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, behind
from patcher.engine.anchors.syntax import Syntax, ancestor

if TYPE_CHECKING:
    from tree_sitter import Node


def _case_nodes(syntax: Syntax, label: str) -> list[tuple[str, Node]]:
    """Every ``case label:`` as (owner, node). The scan and the parser have to agree on each.

    Raises :class:`AnchorError` where one stands in code that the parser can't read as a case.
    """
    found: list[tuple[str, Node]] = []
    for token in syntax.tokens(rf"\bcase\s+{re.escape(label)}\s*:"):
        node = ancestor(syntax.at(token.start(), token.end() - 1), "case_statement")
        value = node.child_by_field_name("value") if node is not None else None
        if node is None or value is None or syntax.text(value) != label:
            if _in_macro(syntax, token.start()):
                continue  # a #define's body is text to the parser: macro_case is the anchor for that
            line = syntax.source.line_number(token.start())
            raise AnchorError(
                f"'case {label}:' as a case of a switch",
                f"it in line {line}, where the parser sees {node.type if node else 'no statement'}",
            )
        found.append((syntax.owner(node), node))
    return found


def _in_macro(syntax: Syntax, offset: int) -> bool:
    node = syntax.at(offset, offset + 1)
    return ancestor(node, "preproc_function_def", "preproc_def") is not None


_BRANCHES = ("preproc_if", "preproc_ifdef", "preproc_elif", "preproc_elifdef", "preproc_else")
_OTHER_BRANCH = ("preproc_elif", "preproc_elifdef", "preproc_else")


def _conditions(node: Node, switch: Node) -> list[tuple[int, int]]:
    """The preprocessor branches that ``node`` lies in, below ``switch``: (the #if's start, the branch's)."""
    found = []
    child, parent = node, node.parent
    while parent is not None and child.id != switch.id:
        # an #else hangs below its #if, but is none of it
        if parent.type in _BRANCHES and child.type not in _OTHER_BRANCH:
            first: Node = parent
            while first.type in _OTHER_BRANCH and first.parent is not None:
                first = first.parent
            found.append((first.start_byte, parent.start_byte))
        child, parent = parent, parent.parent
    return found


def _switch_has(syntax: Syntax, node: Node, ours: str) -> tuple[Node | None, str | None]:
    """The ``case ours`` in the switch of its sibling ``node``; what is wrong where it holds less often."""
    switch = ancestor(node, "switch_statement")
    if switch is None:
        return None, None
    here = set(_conditions(node, switch))
    for there in _labels(syntax, switch, ours):
        extra = set(_conditions(there, switch)) - here
        if not extra:
            return there, None
        if {first for first, _ in extra} & {first for first, _ in here}:
            continue  # the other branch of one #if
        line = syntax.source.line_number(there.start_byte)
        return there, f"'case {ours}:' under a condition of its own in line {line}"
    return None, None


def _labels(syntax: Syntax, switch: Node, label: str) -> list[Node]:
    """Every ``case label`` of ``switch`` itself, not of one inside of it."""
    found = []
    pattern = re.compile(rf"\bcase\s+{re.escape(label)}\s*:".encode())
    for token in pattern.finditer(syntax.source.code, switch.start_byte, switch.end_byte):
        node = ancestor(syntax.at(token.start(), token.end() - 1), "case_statement")
        if node is not None and ancestor(node, "switch_statement") == switch:
            found.append(node)
    return found


def _twice(syntax: Syntax, node: Node, ours: str) -> str | None:
    """What is said where the switch of ``node`` has ``case ours`` in two places that both count."""
    switch = ancestor(node, "switch_statement")
    there = _labels(syntax, switch, ours) if switch is not None else []
    return twice(syntax.source, f"'case {ours}:'", [one.start_byte for one in there])


def arm_of(node: Node) -> Node | None:
    """The ``case`` whose statements the label ``node`` runs: itself, or the next one that has any."""
    at: Node | None = node
    while at is not None and first_statement(at) is None:
        at = at.next_named_sibling
        while at is not None and at.type == "comment":
            at = at.next_named_sibling
        if at is not None and at.type != "case_statement":
            return None
    return at


def _contradiction(syntax: Syntax, label: str, node: Node, ours: str, there: Node) -> str | None:
    """How the arm that ``ours`` is in differs from the sibling's, where that is what no human means."""
    arm, wanted = arm_of(there), arm_of(node)
    if arm is None or wanted is None or arm == wanted:
        return None
    if arm.child_by_field_name("value") is None:
        line = syntax.source.line_number(there.start_byte)
        return f"'case {ours}:' in line {line} with the default, not with {label}"
    return None


def _there(syntax: Syntax, owner: str, node: Node, there: Node, problem: str | None) -> Existing:
    """Our case ``there``, and the arm of the sibling's ``node`` where that is another one than ours."""
    mine, wanted = arm_of(there), arm_of(node)
    own = mine is not None and wanted is not None and mine != wanted
    # a label that shares the arm of the next one is the label alone
    end = there.end_byte if first_statement(there) is not None else there.start_byte
    if end == there.start_byte or not own:
        end = syntax.source.code.index(b":", there.start_byte) + 1
    twin = (wanted.start_byte, wanted.end_byte) if own and wanted is not None else None
    return Existing(owner, there.start_byte, end, problem, twin=twin)


_JUMPS = ("break_statement", "return_statement", "goto_statement", "continue_statement", "throw_statement")
_NO_RETURN = re.compile(r"\s*(?:GGML_ABORT|GGML_ASSERT\s*\(\s*(?:false|0)\b|abort\s*\(|throw\b|exit\s*\()")


def _ends(syntax: Syntax, node: Node) -> bool:
    """Whether control never goes on behind ``node``."""
    if node.type in _JUMPS:
        return True
    if node.type in ("compound_statement", "case_statement"):
        inner = [child for child in node.named_children if child.type != "comment"]
        return bool(inner) and _ends(syntax, inner[-1])
    if node.type == "if_statement":
        branches = [node.child_by_field_name("consequence"), node.child_by_field_name("alternative")]
        return all(branch is not None and _ends(syntax, branch) for branch in branches)
    if node.type == "else_clause":
        return bool(node.named_children) and _ends(syntax, node.named_children[-1])
    return _NO_RETURN.match(syntax.text(node)) is not None


def _end_of_arm(syntax: Syntax, node: Node, label: str, owner: str) -> int:
    """Offset behind the line in which the arm of ``case label:`` ends.

    Raises :class:`AnchorError` where it falls through to the next one: an arm put between would be run, too.
    """
    inner = [child for child in node.named_children if child.type != "comment"]
    if not _ends(syntax, inner[-1]):
        line = syntax.source.line(inner[-1].start_byte).strip()
        raise AnchorError(f"a break behind the statements of 'case {label}:' in {owner}", f"'{line[:60]}'")
    return behind(syntax.source, inner[-1].end_byte, f"the statements of 'case {label}:' in {owner}")


_LABELS = re.compile(rb"(?:\s|\bcase\b[^:;{}]*(?:::[^:;{}]*)*:(?!:)|^[ \t]*#[^\n]*$)*", re.MULTILINE)


def _before_condition(syntax: Syntax, around: Condition, node: Node, label: str, owner: str) -> int:
    """Where the label goes whose sibling an ``#if`` holds: above it, if the statements lie outside.

    Raises :class:`AnchorError` where they don't: our label would run the next arm's without the condition.
    """
    code = syntax.source.code
    colon = code.index(b":", node.start_byte) + 1
    above, below = code[around.branch[0] : node.start_byte], code[colon : around.branch[1]]
    if not _LABELS.fullmatch(above) or not _LABELS.fullmatch(below):
        raise AnchorError(f"'case {label}:' in {owner}, under no condition of its own", str(around))
    return around.start


_ENDED = re.compile(
    rb"(?:\b(?:break|continue|goto \w+)\s*;|\b(?:return|throw)\b[^;{}]{0,4096};"
    rb"|\b(?:GGML_)?ABORT[^;]{0,4096};)[\s}]*\Z"
)


def _behind_condition(syntax: Syntax, around: Condition, label: str, owner: str) -> int:
    """Behind the ``#endif`` of the sibling's arm. Raises where its last arm falls through to what follows."""
    last = syntax.source.code.rfind(b"#", 0, around.end)
    if not _ENDED.search(syntax.source.code[:last]):
        raise AnchorError(f"'case {label}:' in {owner}, under no condition of its own", str(around))
    return around.end


def first_statement(node: Node) -> Node | None:
    value = node.child_by_field_name("value")
    for child in node.named_children:
        if child != value and child.type != "comment":
            return child
    return None


def switched_on(syntax: Syntax, switch: Node) -> str:
    """The expression of a ``switch``, with one space where there is any."""
    condition = switch.child_by_field_name("condition")
    return " ".join(syntax.code(condition).strip()[1:-1].split()) if condition is not None else ""


def _chosen(
    syntax: Syntax, found: list[tuple[str, Node]], switch: str, nth: int
) -> Iterator[tuple[str, Node]]:
    """Those of the labels ``found`` that lie in a switch on ``switch``, the ``nth`` of each function."""
    numbers: dict[str, int] = {}
    for owner, node in found:
        around = ancestor(node, "switch_statement")
        if switch and (around is None or switched_on(syntax, around) != switch):
            continue
        numbers[owner] = numbers.get(owner, 0) + 1
        if nth in (0, numbers[owner]):
            yield owner, node


def case(
    syntax: Syntax,
    *,
    label: str,
    ours: str,
    owners: Iterable[str] = (),
    maybe: Iterable[str] = (),
    only: Iterable[str] = (),
    arm: bool = False,
    switch: str = "",
    nth: int = 0,
) -> Located:
    """A case beside ``case label:``, in every function that has one.

    ``owners`` must have it, ``maybe`` names those that some releases lack; a function in neither is
    handled all the same (upstream may add one tomorrow). ``only`` restricts to the functions that it
    names. With ``arm`` the text is a whole arm of its own behind the sibling's; without, a label that
    shares the sibling's statements. Of several switches with the label in a function, ``switch``
    chooses those on that expression, and ``nth`` one of them, counted from 1.
    """
    source = syntax.source
    sites: list[Site] = []
    existing: list[Existing] = []
    seen: set[str] = set()
    chosen = set(only)
    for owner, node in _chosen(syntax, _case_nodes(syntax, label), switch, nth):
        if chosen and owner not in chosen:
            continue
        seen.add(owner)
        there, problem = _switch_has(syntax, node, ours)
        if there is not None:
            problem = problem or (None if arm else _contradiction(syntax, label, node, ours, there))
            problem = problem or _twice(syntax, there, ours)
            existing.append(_there(syntax, owner, node, there, problem))
            continue
        start = node.start_byte
        indent, like = source.indent(start), source.line(start)
        statement = first_statement(node)
        whole = ancestor(node, "switch_statement")
        around = own_condition(source, start, inside=whole.start_byte) if whole is not None else None
        if arm:
            if statement is None:
                raise AnchorError(
                    f"statements under 'case {label}:' in {owner}", "a label that shares the next one's"
                )
            at = _end_of_arm(syntax, node, label, owner)
            if around is not None:
                at = _behind_condition(syntax, around, label, owner)
            sites.append(Site(owner, at, at, Place.LINES, indent, like))
        elif around is not None:
            at = _before_condition(syntax, around, node, label, owner)
            sites.append(Site(owner, at, at, Place.LINES, indent, like))
        elif not source.starts_line(start):
            sites.append(Site(owner, start, start, Place.INLINE))  # several labels on one line
        else:
            colon = source.code.index(b":", node.start_byte) + 1
            alone = statement is None and source.ends_line(colon)
            place = source.line_end(colon) if alone else source.line_start(start)
            sites.append(Site(owner, place, place, Place.LINES, indent, like))
    missing = sorted((set(owners) | chosen) - seen - set(maybe))
    if missing or not seen:
        where = f" in {', '.join(missing or sorted(maybe))}" if missing or maybe else ""
        raise AnchorError(f"'case {label}:'{where}", f"it in {', '.join(sorted(seen))}" if seen else "none")
    return Located(tuple(sites), tuple(existing))


CASE = AnchorKind(
    "case",
    case,
    Language.C,
    hangs_on=lambda at: rf"(?<=case ){at['label']}\b",
    bodies=lambda at: [Wanted(tuple(at.get("only", ())), (at["label"],))],
    shows="label",
    example='label = "GGML_TYPE_Q8_0", ours = "GGML_TYPE_Q8_A8", owners = ["ggml_quantize_chunk"]',
)


def macro_case(syntax: Syntax, *, macro: str, label: str, ours: str) -> Located:
    """A label above ``case label:`` in the body of ``#define macro``: text to the parser, lines to us."""
    source = syntax.source
    define = re.search(rf"^[ \t]*#[ \t]*define[ \t]+{re.escape(macro)}\b".encode(), source.code, re.MULTILINE)
    if define is None:
        raise AnchorError(f"#define {macro}", "none")
    end = define.start()
    while end < len(source.data):
        line_end = source.line_end(end)
        last = not source.data[end:line_end].rstrip().endswith(b"\\")
        end = line_end
        if last:
            break

    def label_at(name: str) -> list[re.Match[bytes]]:
        pattern = re.compile(rf"\bcase[ \t]+{re.escape(name)}[ \t]*:".encode())
        return list(pattern.finditer(source.code, define.start(), end))

    there = label_at(ours)
    if there:
        return Located(existing=(Existing(macro, there[0].start(), there[0].end()),))
    around = own_condition(source, define.start())
    if around is not None:
        raise AnchorError(f"#define {macro}, under no condition of its own", str(around))
    found = label_at(label)
    if len(found) != 1 or not source.starts_line(found[0].start()):
        raise AnchorError(f"one 'case {label}:' at the start of a line of #define {macro}", f"{len(found)}")
    start = source.line_start(found[0].start())
    site = Site(
        macro, start, start, Place.LINES, source.indent(found[0].start()), source.line(found[0].start())
    )
    return Located((site,))


MACRO_CASE = AnchorKind(
    "macro-case",
    macro_case,
    Language.C,
    hangs_on=lambda at: rf"(?<=case ){at['label']}\b",
    shows="macro",
    example='macro = "FOR_TYPES", label = "GGML_TYPE_Q8_0", ours = "GGML_TYPE_Q8_A8"',
)
