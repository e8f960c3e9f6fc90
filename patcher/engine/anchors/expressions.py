"""Anchors inside functions and lists: comparisons, elements, statements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from patcher.engine.anchors.conditions import own_condition, twice, uncovered
from patcher.engine.anchors.focus import Wanted
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site, behind
from patcher.engine.anchors.syntax import Syntax, ancestor

if TYPE_CHECKING:
    from tree_sitter import Node


def comparison(
    syntax: Syntax,
    *,
    right: str,
    ours: str,
    owners: Iterable[str],
    maybe: Iterable[str] = (),
    left: str = ".*",
    operator: str = "==",
    joined: str = "",
    then: str = "",
) -> Located:
    """Every ``left operator right`` in the functions ``owners``, to be widened by the template.

    ``ours`` is the pattern that tells, in the whole condition, that it has been widened. ``joined`` is
    the operator that the template joins with; where the surrounding expression uses another one, the
    template's ``open`` and ``close`` are parentheses. ``then`` restricts to conditions of an ``if``
    whose consequence matches that pattern.
    """
    sites: list[Site] = []
    existing: list[Existing] = []
    seen: set[str] = set()
    wanted = {*owners, *maybe}
    joined = joined or {"==": "||", "!=": "&&"}[operator]
    for token in syntax.tokens(rf"(?<![\w]){re.escape(right)}(?!\w)"):
        node = ancestor(syntax.at(token.start(), token.end()), "binary_expression")
        if node is None:
            continue
        first, second = node.child_by_field_name("left"), node.child_by_field_name("right")
        sign = node.child_by_field_name("operator")
        if first is None or second is None or sign is None:
            continue
        if syntax.text(sign) != operator or syntax.text(second) != right:
            continue
        owner = syntax.owner(node)
        if owner not in wanted or not re.fullmatch(left, syntax.text(first)):
            continue
        if then and not re.search(then, _consequence(syntax, node)):
            continue
        seen.add(owner)
        whole = _condition(node)
        outer = node.parent.child_by_field_name("operator") if node.parent is not None else None
        mixed = node.parent is not None and node.parent.type == "binary_expression"
        mixed = mixed and outer is not None and syntax.text(outer) != joined
        values = {
            "expr": syntax.text(node),
            "left": syntax.text(first),
            "open": "(" if mixed else "",
            "close": ")" if mixed else "",
        }
        there = [token.start() for token in _within(syntax, whole, ours)]
        if there:
            problem = uncovered(syntax.source, ours, there, [node.start_byte])
            existing.append(Existing(owner, whole.start_byte, whole.end_byte, problem, values=values))
            continue
        around = own_condition(syntax.source, node.start_byte, inside=_start(node, "function_definition"))
        if around is not None:
            what = f"'{left} {operator} {right}' in {owner}, under no condition of its own"
            raise AnchorError(what, str(around))
        sites.append(Site(owner, node.start_byte, node.end_byte, Place.INLINE, values=values))
    missing = sorted(set(owners) - seen) or sorted(() if seen else maybe)
    if missing:
        raise AnchorError(f"'{left} {operator} {right}' in {', '.join(missing)}", "none")
    return Located(tuple(sites), tuple(existing))


COMPARISON = AnchorKind(
    "comparison",
    comparison,
    Language.C,
    hangs_on=lambda at: rf"(?<=[=<] ){at['right']}\b",
    bodies=lambda at: [Wanted((*at["owners"], *at.get("maybe", ())), (at["right"],))],
    patterns=("ours", "left", "then"),
    shows="owners",
    example='right = "GGML_TYPE_Q8_0", ours = "GGML_TYPE_Q8_A8", owners = ["llama_tensor_get_type"]',
)


def _within(syntax: Syntax, node: Node, pattern: str) -> list[re.Match[bytes]]:
    """Where ``pattern`` stands in the code of ``node``."""
    return list(re.compile(pattern.encode()).finditer(syntax.source.code, node.start_byte, node.end_byte))


def _consequence(syntax: Syntax, node: Node) -> str:
    """The text of what is done where the condition that holds ``node`` is true."""
    branch = ancestor(node, "if_statement")
    done = branch.child_by_field_name("consequence") if branch is not None else None
    return syntax.text(done) if done is not None else ""


def _condition(node: Node) -> Node:
    """The largest expression that ``node`` is an operand of."""
    while node.parent is not None and node.parent.type in ("binary_expression", "parenthesized_expression"):
        node = node.parent
    return node


def element(syntax: Syntax, *, variable: str, ours: str, mentions: str | None = None) -> Located:
    """Behind the element of the list ``variable`` that mentions the word ``mentions``, or behind the last.

    A word in quotes is a literal of the list.
    """
    source = syntax.source

    def spoken(word: str) -> list[re.Match[bytes]]:
        if word.startswith('"'):
            return list(re.finditer(re.escape(word.encode()), source.spoken))
        return syntax.tokens(rf"\b{re.escape(word)}\b")

    def elements(word: str) -> list[Node]:
        found: dict[int, Node] = {}
        for token in spoken(word):
            node = syntax.at(token.start(), token.end())
            if syntax.owner(node) != variable:
                continue
            while node.parent is not None and not (
                node.parent.type == "initializer_list"
                and node.parent.parent is not None
                and node.parent.parent.type == "init_declarator"
            ):
                node = node.parent
            if node.parent is not None:
                found[node.start_byte] = node
        return list(found.values())

    there = elements(ours)
    found = elements(mentions) if mentions is not None else _last(syntax, variable)
    if there:
        places, siblings = ([node.start_byte for node in nodes] for nodes in (there, found))
        problem = uncovered(source, ours, places, siblings) or twice(source, ours, places)
        return Located(existing=(Existing(variable, there[0].start_byte, there[0].end_byte, problem),))
    what = f"one element of {variable} that mentions {mentions}" if mentions else f"one list {variable}"
    if len(found) != 1:
        raise AnchorError(what, f"{len(found)}")
    node = found[0]
    comma = re.compile(rb"\s*,").match(source.code, node.end_byte)
    alone = comma is not None and source.starts_line(node.start_byte) and source.ends_line(comma.end())
    around = own_condition(source, node.start_byte, inside=_start(node, "init_declarator"))
    if around is not None and not alone:
        raise AnchorError(f"{what}, under no condition", str(around))
    if alone:
        at = around.end if around is not None else source.line_end(node.end_byte)
        line = source.line(node.start_byte)
        site = Site(variable, at, at, Place.LINES, source.indent(node.start_byte), line)
    else:
        end = node.end_byte
        site = Site(variable, end, end, Place.INLINE, values={"inline": True})
    return Located((site,))


def _last(syntax: Syntax, variable: str) -> list[Node]:
    """The last element of each list ``variable``."""
    found: dict[int, Node] = {}
    for token in syntax.tokens(rf"\b{re.escape(variable)}\b[^;{{}}()]*=\s*\{{"):
        whole = ancestor(syntax.at(token.end() - 1, token.end()), "initializer_list")
        elements = [child for child in whole.named_children if child.type != "comment"] if whole else []
        if elements and whole is not None and syntax.owner(whole) == variable:
            found[whole.start_byte] = elements[-1]
    return list(found.values())


ELEMENT = AnchorKind(
    "element",
    element,
    Language.C,
    hangs_on=lambda at: str(at.get("mentions") or rf"\b{at['variable']}\b"),
    bodies=lambda at: [Wanted((at["variable"],), header_only=True)],
    shows="variable",
    is_whole=True,
    example='variable = "all_types", mentions = "GGML_TYPE_Q8_0", ours = "GGML_TYPE_Q8_A8"',
)


def _start(node: Node, *types: str) -> int:
    """Where the ``types`` around ``node`` begin; -1 for none."""
    whole = ancestor(node, *types)
    return whole.start_byte if whole is not None else -1


def statement(
    syntax: Syntax,
    *,
    function: str | Iterable[str],
    mentions: str,
    ours: str,
    node_type: str = "if_statement",
    blank: int = 0,
    before: bool = False,
    conditional: bool = False,
) -> Located:
    """Behind (or ``before``) the statement of ``node_type`` in ``function`` that matches ``mentions``.

    Several names are those that the function has had in one version or another. A ``conditional`` text brings
    an ``#if`` of its own.
    ``ours`` is the pattern that tells that the text is there; literals count in both.
    """
    source = syntax.source
    names = _names(function)
    found: dict[int, Node] = {}
    for token in re.finditer(mentions.encode(), source.spoken):
        node = ancestor(syntax.at(token.start(), token.end()), node_type)
        if node is not None and syntax.owner(node) in names:
            found[node.start_byte] = node
    blocks = {_block(node) for node in found.values()}
    there: dict[int, Node] = {}
    for token in re.finditer(ours.encode(), source.spoken):
        node = syntax.at(token.start(), token.end())
        if syntax.owner(node) in names:
            whole = _statement(node, blocks)
            there[whole.start_byte] = whole
    if there:
        problem = None if conditional else uncovered(source, f"what matches '{ours}'", there, found)
        return Located(
            existing=tuple(
                Existing(syntax.owner(node), node.start_byte, node.end_byte, problem)
                for node in there.values()
            )
        )
    if len(found) != 1:
        raise AnchorError(f"one statement of {' or '.join(names)} that matches '{mentions}'", f"{len(found)}")
    (node,) = found.values()
    what = f"what matches '{mentions}' in {syntax.owner(node)}"
    if not source.starts_line(node.start_byte):
        raise AnchorError(f"{what} at the start of a line", f"'{source.line(node.start_byte).strip()[:60]}'")
    at = source.line_start(node.start_byte) if before else behind(source, node.end_byte, what)
    around = own_condition(source, node.start_byte, inside=_start(node, "function_definition"))
    if around is not None:
        at = around.start if before else around.end
    indent = source.indent(node.start_byte)
    like = source.line(node.start_byte)
    owner = syntax.owner(node)
    return Located((Site(owner, at, at, Place.LINES, indent, like, blank_before=blank),))


STATEMENT = AnchorKind(
    "statement",
    statement,
    Language.C,
    hangs_on=lambda at: str(at["mentions"]),
    bodies=lambda at: [Wanted(_names(at["function"]), header_only=True)],
    patterns=("ours", "mentions"),
    shows="function",
    example='function = "ggml_type_from_name", mentions = "\\"q8_0\\"", ours = "\\"q8_a8\\""',
)


def _block(node: Node) -> int:
    """Where the braces begin that the statement ``node`` lies in, an ``#if`` or none between."""
    whole = ancestor(node.parent, "compound_statement") if node.parent is not None else None
    return whole.start_byte if whole is not None else -1


def _statement(node: Node, blocks: Iterable[int]) -> Node:
    """The statement around ``node`` that lies in one of ``blocks``; where none does, the innermost."""
    innermost = None
    at = node
    while at.parent is not None and at.type != "function_definition":
        if at.parent.type == "compound_statement" or at.parent.type.startswith("preproc_"):
            innermost = innermost or at
            if _block(at) in blocks:
                return at
        at = at.parent
    return innermost or node


def _names(function: str | Iterable[str]) -> tuple[str, ...]:
    return (function,) if isinstance(function, str) else tuple(function)
