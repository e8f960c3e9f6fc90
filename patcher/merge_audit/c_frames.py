"""What a brace opens in a file of the C family: a function, a type, a list, a block."""

from __future__ import annotations

from dataclasses import dataclass, field

from patcher.merge_audit import c_heads

_CONTROL = frozenset(["if", "for", "while", "switch", "else", "do", "try", "catch"])
TYPES = frozenset(["struct", "class", "union"])


@dataclass
class Frame:
    """What a brace has opened, and what stands around it."""

    scope: str  # file, namespace, type, enum, list, function, switch, block
    name: str | None = None
    parent: Frame | None = None
    head: list[str] = field(default_factory=list)  # what the statement had before the brace
    start: int = 0  # where that statement begins
    depth: int = 0  # parentheses that were open then
    mark: int = 0  # items that were made before it
    holds: bool = False  # a list that has lists in it
    # of a switch the first of the labels in a row that its reader is behind; of a type public, private, ...
    label: str = ""
    labeled: int = 0  # how many items were made up to the last of them
    within: str = ""  # the condition of the innermost block, up to the function
    closed: str = ""  # the condition of the block in it that was closed last: what an else is of

    def owner(self) -> tuple[str, ...]:
        """The names around what stands in it, from the outermost on."""
        names: list[str] = []
        at: Frame | None = self
        while at is not None:
            if at.name and at.scope not in ("namespace", "block"):
                names.append(at.name)
            at = at.parent
        return tuple(reversed(names))

    def behind(self) -> str:
        """The label that what stands here is behind, in the innermost switch or type."""
        at: Frame | None = self
        while at is not None and at.scope in ("block", "list"):
            at = at.parent
        return at.label if at is not None and at.scope in ("switch", "type") else ""

    def namespace(self) -> str:
        """The innermost one; empty where there is none."""
        at: Frame | None = self
        while at is not None and at.scope != "namespace":
            at = at.parent
        return f"namespace {at.name or ''}".rstrip() if at is not None else ""

    def body(self) -> tuple[str, ...]:
        """The owner of a plain statement: a function's, whatever blocks and switches it stands in."""
        at: Frame | None = self
        while at is not None and at.scope in ("block", "switch", "list"):
            at = at.parent
        return at.owner() if at is not None else ()


def opened(head: list[str], around: Frame, depth: int) -> Frame:
    """What a brace opens behind the words ``head`` (no switch), in ``depth`` parentheses of ``around``."""
    scope = around.scope
    last = head[-1] if head else ""
    words = set(head)
    if head and head[0] in _CONTROL and not depth and scope != "list":
        return Frame("block")
    equals = c_heads.equals(head)
    if depth:
        lambda_ends = last == ")" or last in ("mutable", "]") or "->" in head[-6:]
        return Frame("block") if lambda_ends and "]" in words else Frame("list", c_heads.called(head))
    if scope == "list":
        around.holds = True
        return Frame("list", "".join(head).rstrip("=") or None)
    if "enum" in words and "(" not in words and last != "=":
        return Frame("enum", c_heads.named(head, "enum"))
    if last in (",", "return") or (equals is not None and head[equals + 1 : equals + 2] != ["["]):
        return Frame("list", c_heads.assigned(head))  # behind = only a lambda's brackets open a block
    if head and (head[0] == "namespace" or (head[:1] == ["extern"] and len(head) == 2)):
        return Frame("namespace", head[1] if head[0] == "namespace" and len(head) > 1 else None)
    if words & TYPES and "(" not in words:
        return Frame("type", c_heads.named(head, *TYPES))
    outside = scope in ("file", "namespace", "type")
    if outside and "(" in words:
        if last != ")" and ":" in words and last not in ("const", "noexcept", "override", "final"):
            return Frame("list")  # a member that a constructor begins with braces
        return Frame("function", c_heads.function(head))
    if not head or last in (")", "mutable", "]") or ("->" in words and "]" in words):
        return Frame("block")
    if outside:
        return Frame("list" if len(head) > 1 else "block", c_heads.assigned(head))
    return Frame("list", c_heads.assigned(head))
