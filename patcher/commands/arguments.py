"""Arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from patcher.errors import UsageError
from patcher.patchset import PatchSet, load
from patcher.progress import Reporter
from patcher.tree import Tree

F = TypeVar("F", bound=Callable[..., Any])

tree_argument = click.argument("tree", type=click.Path(path_type=Path), default=".")


def selection_options(function: F) -> F:
    """``--only`` and ``--without``: a part of the type."""
    function = click.option(
        "--without", multiple=True, metavar="ID", help="Leave out this edit or group; may be repeated."
    )(function)
    return click.option(
        "--only", multiple=True, metavar="ID", help="Only this edit or group; may be repeated."
    )(function)


def selected(only: tuple[str, ...], without: tuple[str, ...]) -> PatchSet:
    """The patch set that ``--only`` and ``--without`` leave. Raises UsageError for an unknown id."""
    return load().select(only, without)


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
    from patcher import numbering

    if adopt_id and renumber:
        raise UsageError("--adopt-id and --renumber: one of them, not both")
    if adopt_id:
        return numbering.adopt(patchset, tree, reporter)
    return numbering.renumber(patchset, tree, reporter) if renumber else patchset


def base_of(tree: Path) -> str | None:
    """The recorded base of a checkout, or the commit it is on, or None without git."""
    from patcher import git

    top = git.find_toplevel(tree)
    return (git.base(top) or git.head(top)) if top is not None else None


def build_options(function: F) -> F:
    """What ``build`` and ``run`` both take."""
    options = (
        click.option("--target", "targets", multiple=True, help="What to build; may be repeated."),
        click.option(
            "-j", "--jobs", type=click.IntRange(min=1), help="Compilers at once. [default: by machine]"
        ),
        click.option("--cmake-arg", "cmake_args", multiple=True, help="Handed to CMake; may be repeated."),
        click.option(
            "--compiler-launcher", "launcher", default="auto", show_default=True, help="ccache, none, ..."
        ),
        click.option("--toolchain", type=click.Path(path_type=Path), help="A CMake toolchain file."),
        click.option("--build-type", default="Release", show_default=True, help="CMAKE_BUILD_TYPE."),
        click.option(
            "--allow-shlib-undefined", is_flag=True, help="Let undefined symbols pass: they fail at run time."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
