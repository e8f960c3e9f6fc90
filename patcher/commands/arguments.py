"""Arguments that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from patcher.base.errors import UsageError
from patcher.commands import values

if TYPE_CHECKING:  # these take a tenth of a second, which no --help should wait for
    from patcher.base.progress import Reporter
    from patcher.build import BuildRequest
    from patcher.engine.patchset import PatchSet
    from patcher.engine.tree import Tree

F = TypeVar("F", bound=Callable[..., Any])


def found_tree(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
    """TREE, or where none is named the tree around the current folder; where there is none that folder, which
    the command then refuses, naming the trees near it."""
    if value is not None or context.resilient_parsing:
        return value or Path()
    from patcher.engine.layout import tree_around

    here = Path.cwd()
    around = tree_around(here)
    return Path() if around in (None, here) else around


def refuse_beside(chosen: str, why: str, *parameters: str) -> None:
    """Raise UsageError where the command line has one of ``parameters`` (Python names) beside ``chosen``,
    an option that has no use for them: what is asked for is never passed over in silence."""
    context = click.get_current_context()
    if unknown := set(parameters) - {one.name for one in context.command.params}:
        raise LookupError(f"{context.command_path}: has no {', '.join(sorted(unknown))}")  # and goes nowhere
    given = [
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(context)
        for parameter in context.command.params
        if parameter.name in parameters
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"{chosen}: {why}", hint=f"leave {' and '.join(given)} out")


tree_argument = click.argument(
    "tree", type=click.Path(path_type=Path), required=False, callback=found_tree, metavar="[TREE]"
)


def shipped_type(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The name of a type that ships as we write it, whatever its case: Q8_A8 is what ``quantize`` takes."""
    from patcher.engine.type_file import SHIPPED

    name = (value or "").lower().replace("-", "_")
    return name if name in SHIPPED and not Path(value or "").is_file() else value


def type_option(function: F) -> F:
    """``--type``: another type than the one that ships."""
    return click.option(
        "--type",
        "type_name",
        metavar="NAME|FILE",
        default="q8_a8",
        show_default=True,
        callback=shipped_type,
        shell_complete=values.types,
        help="The type: the name of one that ships (Q8_A8), or the .toml file of your own.",
    )(function)


def selection_options(function: F) -> F:
    """``--type``; ``--only`` and ``--without``: a part of it; ``--with-fix``: a build fix beside it."""
    function = click.option(
        "--with-fix",
        multiple=True,
        metavar="NAME",
        shell_complete=values.fixes,
        help="Apply this build fix as well ('q8a8-patch fixes' lists them); may be repeated.",
    )(function)
    function = click.option(
        "--without",
        multiple=True,
        metavar="ID",
        shell_complete=values.edits,
        help="Leave out this edit or group; may be repeated.",
    )(function)
    function = click.option(
        "--only",
        multiple=True,
        metavar="ID",
        shell_complete=values.edits,
        help="Apply only this edit or group of edits; may be repeated.",
    )(function)
    return type_option(function)


def choice_options(function: F) -> F:
    """``--keep``, ``--replace``: who stays where somebody has written it differently; ``--everything``."""
    function = click.option(
        "--everything",
        is_flag=True,
        help="Apply every edit again, also those that were left out of this tree before.",
    )(function)
    function = click.option(
        "--replace",
        "replaced",
        multiple=True,
        metavar="ID",
        shell_complete=values.edits,
        help="Replace the tree's own code for this edit or group by ours; may be repeated.",
    )(function)
    return click.option(
        "--keep",
        multiple=True,
        metavar="ID",
        shell_complete=values.edits,
        help="Keep the tree's own code for this edit or group where it differs from ours; may be repeated.",
    )(function)


def selected(
    tree: Tree | None,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    with_fix: tuple[str, ...] = (),
    type_name: str = "q8_a8",
    *,
    keep: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
    everything: bool = False,
) -> PatchSet:
    """The patch set of ``type_name`` as ``tree`` remembers it, with what the command line says over it.

    Without a tree nothing is remembered. Raises UsageError for an unknown id or fix, for what is wrong with
    the type's file, and with the tree's.
    """
    from patcher.engine.patchset import load
    from patcher.engine.settled import chosen

    return chosen(
        load(type_name), tree, only=only, without=without, everything=everything, fixes=with_fix, keep=keep,
        replaced=replaced,
    )  # fmt: skip


def numbering_options(function: F) -> F:
    """``--adopt-id`` and ``--renumber``: for a tree in which somebody chose the numbers."""
    function = click.option(
        "--renumber", is_flag=True, help="Move numbers that the tree has for the type to the reserved ones."
    )(function)
    return click.option(
        "--adopt-id", is_flag=True, help="Keep the numbers that the tree has for the type, with a warning."
    )(function)


def numbered(patchset: PatchSet, tree: Tree, adopt_id: bool, renumber: bool, reporter: Reporter) -> PatchSet:
    """The patch set that ``--adopt-id`` or ``--renumber`` asks for. Raises UsageError for both at once."""
    from patcher.engine import numbering

    if adopt_id and renumber:
        raise UsageError(
            "--adopt-id and --renumber can't be given together",
            hint="--adopt-id takes the numbers that the tree has, --renumber gives it the reserved ones:"
            " leave one out",
        )
    if adopt_id:
        return numbering.adopt(patchset, tree, reporter)
    return numbering.renumber(patchset, tree, reporter) if renumber else patchset


def offer_fixes(tree: Tree, request: BuildRequest, reporter: Reporter, type_name: str = "q8_a8") -> None:
    """Name the build fixes that this machine and compiler need and ``tree``, with that type, lacks."""
    from patcher.build.toolchain import require_compiler
    from patcher.engine import build_fixes
    from patcher.engine.patchset import load

    if not build_fixes.is_native(request.cmake_args, cross=request.toolchain is not None):
        return
    chosen = re.findall(r"-D\s*CMAKE_CXX_COMPILER(?::\w+)?=(\S+)", " ".join(request.cmake_args))
    for fix in build_fixes.wanted(tree, load(type_name), chosen[-1] if chosen else require_compiler("CXX")):
        reporter.warn(
            f"{fix.title}, and programs built for this processor die of it; {fix.remedy_beside(type_name)}"
        )


def base_of(tree: Path) -> str | None:
    """The recorded base of a checkout, or the commit it is on, or None without git."""
    from patcher import git

    top = git.find_toplevel(tree)
    return (git.base(top) or git.head(top)) if top is not None else None


def require_type(tree: Tree, type_name: str, reporter: Reporter) -> None:
    """Refuse a tree that lacks a part of the type ``type_name``, for its programs would lack it, too.

    Raises :class:`UsageError`.
    """
    from patcher.engine.patchset import load
    from patcher.engine.planning import make_plan
    from patcher.engine.settled import remembered

    plan = make_plan(tree, remembered(load(type_name), tree), reporter)
    lacking = [edit.edit.id for edit in (*plan.conflicts, *plan.missing)]
    if lacking:
        few = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise UsageError(
            f"{tree.name}: looked for all edits of {plan.patchset.type.upper},"
            f" {len(lacking)} are missing ({few})",
            hint=f"'q8a8-patch apply --type {type_name}' first, or build without --type",
        )


# of every command that compiles
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="How many compilers run at once. [default: by processors and memory]",
)
cmake_arg_option = click.option(
    "--cmake-arg",
    "cmake_args",
    multiple=True,
    metavar="ARGUMENT",
    help="An argument for CMake, such as -DGGML_CUDA=ON; may be repeated.",
)
launcher_option = click.option(
    "--compiler-launcher",
    "launcher",
    default="auto",
    show_default=True,
    metavar="PROGRAM",
    shell_complete=values.launchers,
    help="The compiler cache: ccache, sccache, none, or auto for the first that is installed.",
)


def build_options(function: F) -> F:
    """What ``build`` and ``run`` both take."""
    options = (
        click.option(
            "--target",
            "targets",
            multiple=True,
            metavar="NAME",
            shell_complete=values.targets,
            help="A program to build, such as llama-cli; may be repeated."
            " [default: those that quantize and measure]",
        ),
        jobs_option,
        cmake_arg_option,
        launcher_option,
        click.option(
            "--toolchain",
            type=click.Path(path_type=Path),
            help="A CMake toolchain file, to build for another machine.",
        ),
        click.option(
            "--build-type",
            default="Release",
            show_default=True,
            metavar="NAME",
            shell_complete=values.build_types,
            help="The CMake build type: Release, Debug, RelWithDebInfo, ...",
        ),
        click.option(
            "--allow-shlib-undefined",
            is_flag=True,
            help="Let the linker accept undefined symbols, which then fail at run time.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
