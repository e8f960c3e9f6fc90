"""Code of another hand that means what ours means, where that can be proved; never where it is only likely.

There are three proofs, and each says its reason:

* the two are one text once the names of local variables are taken away, with what computes nothing
  (``assert``, ``UNUSED``, ``const``, ``restrict``);
* theirs is the sibling's own code of the same tree with our block's names in it, macros of that file
  expanded: our block is laid out like the sibling's, field by field, and for such a type ours is defined
  to compute what the sibling's does;
* theirs is one of the forms that the edit lists (``equals``), each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from patcher.engine.anchors import Source
from patcher.engine.anchors.syntax import Syntax
from patcher.engine.comparison import tokens
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.tree import Tree

_COMMON = "ggml/src/ggml-common.h"
_DROPPED = re.compile(
    r"\b(?:const|static|inline|GGML_API|GGML_RESTRICT|RESTRICT|restrict|__restrict)\b ?"
    r"|\b(?:assert|GGML_UNUSED|UNUSED) \( [^;]{0,1000} \) ; ?|\( void \) \w+ ; ?"
)
_VALUE = r"(?:int|int64_t|size_t|unsigned|uint32_t|int32_t|uint64_t)"
# a name for a constant, which nothing can change
_CONSTANT = re.compile(rf"(?:\bstatic )?\bconst {_VALUE} (\w+) = (QK\w+|\d+) ; ?")
_DECLARED = re.compile(
    rf"\b(?:{_VALUE}|float|double|bool|char|void|u?int8_t|u?int16_t|ggml_half|block_\w+)"
    r" (?:\* ?)*(\w+)(?= [=;,)\[])"
)


def proof(
    tree: Tree, patchset: PatchSet, edit: Edit, source: Source, ours: str, theirs: str, twin: str = ""
) -> str | None:
    """Why ``theirs`` means ``ours`` (both as tokens), in words; None where that can't be shown.

    ``twin`` is the sibling's arm, where the edit is a case and the tree gives ours an arm of its own.
    """
    names = _same_block(tree, patchset)
    if canonical(theirs, patchset) == canonical(ours, patchset):
        return "the same as ours but for names of local variables and asserts"
    siblings = [twin] if twin else []
    if edit.kind == "function":
        sibling = str(edit.anchor["ours"]).replace(patchset.type.name, patchset.type.sibling)
        siblings += [_definition(source, sibling)]
    elif edit.kind == "case" and not twin:
        siblings += [_arm(source, edit)]
    for text in siblings:
        if not text:
            continue
        for form in (text, _expanded(source, text)):
            if twin and _body(canonical(form, patchset)) == _body(canonical(theirs, patchset)):
                return f"the same statements as {patchset.type.sibling.upper()}'s"
            if names is None:
                continue
            renamed = _renamed(form, patchset, names)
            if _body(canonical(renamed, patchset)) == _body(canonical(theirs, patchset)):
                return (
                    f"this tree's own code for {patchset.type.sibling.upper()} with the names of our block,"
                    " which is laid out like it"
                )
    for other in edit.equals:
        listed = tokens(patchset.render_text(edit, other["template"], tree).encode())
        if _body(canonical(listed, patchset)) == _body(canonical(theirs, patchset)):
            return other["because"]
    return None


def canonical(text: str, patchset: PatchSet) -> str:
    """Tokens with what computes nothing left out and local names numbered as they come."""
    for found in list(_CONSTANT.finditer(text)):
        text = re.sub(rf"\b{found[1]}\b", found[2], text.replace(found[0], "", 1))
    text = _DROPPED.sub("", text)
    text = re.sub(r"(?<=\* \) )\( (\w+) \)", r"\1", text)
    head, brace, body = text.partition("{")
    # a block may come by void *, under a second name
    block = rf"\bblock_{patchset.type.name} \*"
    head = re.sub(block, "void *", head)
    for alias in list(re.finditer(rf"{block} (\w+) = (?:\( [\w *]+ \) )?(\w+) ; ?", body)):
        body = re.sub(rf"\b{alias[1]}\b", alias[2], body.replace(alias[0], "", 1))
    text = head + brace + body
    text = re.sub(r"(?<![\w)] )\( (\w+) \)(?! [\w(])", r"\1", text)
    numbered: dict[str, str] = {}
    for found in _DECLARED.finditer(text):
        numbered.setdefault(found[1], f"_{len(numbered)}")
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda word: numbered.get(word[0], word[0]), text)


def _body(text: str) -> str:
    """The statements of an arm or a function, without the label, the braces around them and the break."""
    text = re.sub(r"^case [\w:. ]+? : ", "", text)
    text = re.sub(r" ?break ;? ?", " ", text) if text.count("break") == 1 else text
    text = text.strip(" ;")
    while text.startswith("{") and text.endswith("}") and _closes(text):
        text = text[1:-1].strip()
    return " ".join(text.split()).strip(" ;")


def _closes(text: str) -> bool:
    depth = 0
    for number, token in enumerate(text):
        depth += {"{": 1, "}": -1}.get(token, 0)
        if not depth:
            return number == len(text) - 1
    return False


def _same_block(tree: Tree, patchset: PatchSet) -> Mapping[str, str] | None:
    """The sibling's fields -> ours, where both blocks of this tree have the same layout; else None."""
    text = tokens(tree.read(_COMMON.removeprefix(patchset.strip)) or b"")
    mine, sibling = (_fields(text, name) for name in (patchset.type.name, patchset.type.sibling))
    if not mine:
        # ours isn't there yet: a type of the sibling's layout says so by having its set
        mine = _fields(tokens(_template(tree, patchset)), patchset.type.name)
    if not mine or not sibling or len(mine) != len(sibling):
        return None
    alike = all(
        one[0] == other[0] and bool(one[2]) == bool(other[2])
        for one, other in zip(mine, sibling, strict=True)
    )
    same_size = patchset.type.block_size == 32 and patchset.type.type_size == 34
    if not alike or not (same_size or patchset.type.sibling != "q8_0"):
        return None
    return {other[1]: one[1] for one, other in zip(mine, sibling, strict=True)}


def _template(tree: Tree, patchset: PatchSet) -> bytes:
    edit = next((one for one in patchset.edits if one.id == "block"), None)
    return patchset.render(edit, tree, {}).encode() if edit is not None else b""


def _fields(text: str, name: str) -> list[tuple[str, str, str]]:
    """(type, name, length) of the fields of block ``name`` in a token text."""
    found = re.search(rf"typedef struct \{{ ([^{{}}]*) \}} block_{name} ;", text)
    if found is None:
        return []
    return re.findall(r"\b(\w+) (\w+)(?: \[ (\w+) \])? ;", found[1])


def _renamed(text: str, patchset: PatchSet, fields: Mapping[str, str]) -> str:
    quant_type = patchset.type
    digits = re.search(r"\d\w*", quant_type.sibling.upper())
    text = re.sub(rf"\bQK{digits.group() if digits else ''}\b", quant_type.qk, text)
    text = re.sub(rf"(?<![A-Za-z0-9]){quant_type.sibling}(?![A-Za-z0-9])", quant_type.name, text)
    text = re.sub(quant_type.sibling.upper(), quant_type.upper, text)
    return re.sub(r"(?<=\. )(\w+)\b", lambda word: fields.get(word[1], word[1]), text)


def _definition(source: Source, name: str) -> str:
    if name.encode() not in source.code:
        return ""
    syntax = Syntax(source)
    for token in syntax.tokens(rf"\b{re.escape(name)}\s*\("):
        node = syntax.at(token.start(), token.end() - 1)
        while node.parent is not None and node.type != "function_definition":
            node = node.parent
        if node.type == "function_definition" and syntax.function_name(node) == name:
            return tokens(source.data[node.start_byte : node.end_byte])
    return ""


def _arm(source: Source, edit: Edit) -> str:
    """The sibling's arm, in the one function that the edit names."""
    label = re.escape(str(edit.anchor["label"]))
    syntax = Syntax(source)
    for token in syntax.tokens(rf"\bcase\s+{label}\s*:"):
        node = syntax.at(token.start(), token.end() - 1)
        while node.parent is not None and node.type != "case_statement":
            node = node.parent
        if node.type == "case_statement" and syntax.owner(node) in edit.anchor.get("only", ()):
            return tokens(source.data[node.start_byte : node.end_byte])
    return ""


def _expanded(source: Source, text: str) -> str:
    """``text`` with the function-like macros of the file in it expanded, once."""

    def expand(call: re.Match[str]) -> str:
        define = re.search(
            rf"(?m)^[ \t]*#[ \t]*define[ \t]+{call[1]}\(([^()]*)\)((?:[^\n]*\\\r?\n)*[^\n]*)".encode(),
            source.code,
        )
        if define is None:
            return call[0]
        names = [one.strip() for one in define[1].decode().split(",")]
        values = [one.strip() for one in call[2].split(" ,")]
        if len(names) != len(values):
            return call[0]
        body = tokens(define[2].replace(b"\\\n", b" \n").replace(b"\\\r\n", b"  \n"))
        chosen = dict(zip(names, values, strict=True))
        return re.sub(r"\b\w+\b", lambda word: chosen.get(word[0], word[0]), body)

    return re.sub(r"\b([A-Z]\w+) \( ([^()]*) \) ;?", expand, text)
