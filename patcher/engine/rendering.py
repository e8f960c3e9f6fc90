"""Templates to text. Those that ship are ours; those beside a user's own type are a stranger's: boxed in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.base import sandbox
from patcher.base.cache import cache_dir
from patcher.base.errors import PatcherError, ShippedFileError, UsageError
from patcher.base.sandbox import OverLimitError
from patcher.engine.tree import Tree, inside

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 1 << 20  # characters that a stranger's template may make: ggml's largest source is 400,000

# what a stranger's template can fail of, besides what Jinja itself reports
_FAILURES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OverLimitError, RecursionError, TypeError,
    ValueError, re.error,
)  # fmt: skip
_LONGEST_REASON = 500  # characters


class Has:
    """``has(path, pattern)`` in templates: conditions on what the tree contains, never on a version."""

    def __init__(self, tree: Tree, strip: str = "") -> None:
        self._tree = tree
        self._strip = strip  # a folder that templates name and the tree doesn't have

    def __call__(self, path: str, pattern: str = "") -> bool:
        data = self._tree.read(path.removeprefix(self._strip))
        return data is not None and re.search(pattern.encode(), data) is not None


_BESIDE = "put the file beside the type's .toml, and write its path from there"


def place_of(template: str, home: Path, shipped: Path) -> Path:
    """The file of a type's own ``template``: beside the type's file, or the one of that name that ships.

    Raises :class:`UsageError` where it leads out of either folder, and where neither has it.
    """
    if not inside(template) or "\\" in template:
        raise UsageError(
            f"template {template}: looked for a file in {home}, found a path that leads out of it",
            hint=_BESIDE,
        )
    for folder in (home, shipped):
        place = folder / template
        if place.is_file():
            if not place.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"template {place}: looked for a file in {folder}, found a link that leads out of it",
                    hint=_BESIDE,
                )
            return place
    raise UsageError(f"template {template}: looked for it beside the type's file, found none", hint=_BESIDE)


def ours(template: str, shipped: Path, values: Mapping[str, object]) -> str:
    """One of the templates that ship: a ``.j2`` is rendered, any other file goes in as it is, so that an
    editor and a compiler can open it. Raises :class:`PatcherError` with file and line."""
    if not template.endswith(".j2"):
        return (shipped / template).read_text(encoding="utf-8")
    from jinja2 import TemplateError

    try:
        return _trusted(shipped).get_template(template).render(values)
    except TemplateError as why:
        raise ShippedFileError(f"templates/{template}: {why}") from why


def theirs(template: str, home: Path, shipped: Path, values: Mapping[str, object]) -> str:
    """Render a template that came with a type's own file, in Jinja's sandbox, in a process of its own.

    It sees the type, the tree through ``has`` and what the anchor found; it changes nothing, reads no
    other file, makes a megabyte at most and has seconds and a gigabyte to do it. Raises :class:`UsageError`
    with file and line.
    """
    place = place_of(template, home, shipped)
    box = _boxed(home, shipped)  # here: a child would import Jinja each time

    def work() -> str:
        from jinja2 import TemplateError

        try:
            return json.dumps({"text": _made(box, template, values)})
        except PatcherError as why:  # what it asked of the tree
            return json.dumps({"line": None, "reason": str(why)})
        except (TemplateError, *_FAILURES) as why:
            told = getattr(why, "lineno", None) if isinstance(why, TemplateError) else None
            line = told or _line(why, str(place))
            if isinstance(why, MemoryError):
                reason = sandbox.too_much()
            else:
                reason = " ".join(str(why).split())[:_LONGEST_REASON] or type(why).__name__
            return json.dumps({"line": line, "reason": reason})

    try:
        said: dict[str, Any] = json.loads(sandbox.confined(work))
    except OverLimitError as why:
        raise UsageError(
            f"{place}: {why}",
            hint="take what repeats out of it: a template has seconds, a gigabyte, and a megabyte of text",
        ) from why
    if "text" not in said:
        line = f":{said['line']}" if said["line"] else ""
        raise UsageError(
            f"{place}{line}: {said['reason']}",
            hint="correct that line of the template; docs/how-to/own-type.md says what a template sees",
        )
    text: str = said["text"]
    return text


def _made(box: Environment, template: str, values: Mapping[str, object]) -> str:
    """The text. It is counted while it grows, not when it is there."""
    made: list[str] = []
    length = 0
    for part in box.get_template(template).generate(values):
        made.append(part)
        length += len(part)
        if length > LONGEST:
            raise ValueError(f"makes more than {LONGEST} characters")
    return "".join(made)


def _line(error: BaseException, template: str) -> int | None:
    """The line of ``template`` that ``error`` was raised in: Jinja gives its frames the template's name."""
    line, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == template:
            line = step.tb_lineno
        step = step.tb_next
    return line


_LOOK: dict[str, Any] = {
    "autoescape": False,  # the output is C, not HTML
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
}


@cache
def _trusted(shipped: Path) -> Environment:
    from jinja2 import BytecodeCache, Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
    from jinja2.bccache import Bucket

    class Compiled(BytecodeCache):
        """In the cache's folder as it is at the time: 'cache clean' takes it away while others work."""

        def load_bytecode(self, bucket: Bucket) -> None:
            FileSystemBytecodeCache(str(cache_dir("templates"))).load_bytecode(bucket)

        def dump_bytecode(self, bucket: Bucket) -> None:
            FileSystemBytecodeCache(str(cache_dir("templates"))).dump_bytecode(bucket)

    return Environment(  # noqa: S701 - the output is C, not HTML
        loader=FileSystemLoader(shipped),
        undefined=StrictUndefined,
        # compiling forty templates takes a tenth of a second that every run would pay
        bytecode_cache=Compiled(),
        **_LOOK,
    )


@cache
def _boxed(home: Path, shipped: Path) -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined, TemplateNotFound
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        # 'x' * 10**9 and 9**9**9 would fill the memory before anything can be counted
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = isinstance(left, int | float) and isinstance(right, int | float)
            if operator == "**" or not numbers:
                raise SecurityError(f"'{operator}' of {type(left).__name__} and {type(right).__name__}")
            return super().call_binop(context, operator, left, right)

    def source(name: str) -> tuple[str, str, None]:
        try:
            place = place_of(name, home, shipped)
        except UsageError as why:
            raise TemplateNotFound(name, str(why)) from why
        return place.read_text(encoding="utf-8"), str(place), None

    box = Sandbox(loader=FunctionLoader(source), undefined=StrictUndefined, **_LOOK)
    for name in ("lipsum", "cycler", "joiner", "namespace"):
        box.globals.pop(name, None)
    for name in ("center", "format", "indent", "wordwrap"):
        box.filters.pop(name, None)  # these make a text of any length out of a number
    return box
