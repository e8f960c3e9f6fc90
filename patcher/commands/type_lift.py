"""``q8a8-patch type lift``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands import values

if TYPE_CHECKING:
    from patcher.base.progress import Reporter
    from patcher.engine.tree import ListedTree
    from patcher.lift import Lift, TypeFacts


@click.command("lift")
@click.argument("tree", type=click.Path(path_type=Path))
@click.option(
    "--base",
    required=True,
    metavar="SOURCE",
    shell_complete=values.sources,
    help="What TREE grew from: a folder, a commit of TREE's repository, or a LOCATOR as fetch takes it.",
)
@click.option(
    "--type",
    "wanted",
    multiple=True,
    metavar="NAME",
    help="The type to take out of TREE; may be repeated. [default: list the types that there are]",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="The new folder to write; of several types, each gets one in it.",
)
@common_options
def lift_command(tree: Path, base: str, wanted: tuple[str, ...], folder: Path | None, output: Output) -> None:
    """Take a quantization type out of TREE, a fork or a release, and write it as a type of your own.

    Every line that names the type in TREE and isn't in its base is taken along, or listed as not lifted,
    with the reason. Without --type, the types that TREE has and its base lacks are listed.
    Example: q8a8-patch type lift ./fork --base npm:node-llama-cpp@3.18.1 --type Q1_0 -o q1_0
    """
    from patcher import lift
    from patcher.engine.tree import WorkTree
    from patcher.lift.several import lift_several

    if (not wanted) != (folder is None):
        given, lacking = ("--type", "-o") if wanted else ("-o", "--type")
        raise UsageError(
            f"{given} without {lacking}", hint="give both, or neither to list the types that there are"
        )
    ours = WorkTree(tree)
    with tempfile.TemporaryDirectory(prefix="q8a8-base-") as scratch:
        theirs, called, commit = _base(tree, base, Path(scratch), output.reporter)
        if folder is None:
            unread: dict[str, str] = {}
            found = lift.types(ours, theirs, unread)
            document = {"tree": ours.name, "base": called, "types": [one.document() for one in found]}
            document["unread"] = [{"type": name, "reason": why} for name, why in unread.items()]
            output.emit(document, lambda: _listed(found, unread, ours.name, called))
            return
        name, own_commit = _called(tree)
        origin = lift.Origin(
            tree=name, base=called, commit=own_commit, base_commit=commit, license=lift.license_of(ours)
        )
        if len(wanted) == 1:
            made = lift.lift(ours, theirs, wanted[0], origin, folder, output.reporter)
            output.emit(made.document(), lambda: _said(made, folder))
            return
        each = lift_several(ours, theirs, wanted, origin, folder, output.reporter)
    output.emit({"each": [one.document() for one in each]}, lambda: _said_of_each(each, folder))


def _base(tree: Path, base: str, scratch: Path, reporter: Reporter) -> tuple[ListedTree, str, str | None]:
    """The tree that ``base`` names, what people call it, and its commit.

    Raises :class:`UsageError` for a folder without files, :class:`SourceError` for what can't be fetched.
    """
    from patcher import git
    from patcher.base.errors import PatcherError
    from patcher.engine.tree import CommitTree, WorkTree
    from patcher.source import fetch

    if Path(base).is_dir():
        name, commit = _called(Path(base))
        return WorkTree(Path(base)), name, commit
    top = git.find_toplevel(tree)
    if top is not None:
        try:
            inside = tree.resolve().relative_to(top.resolve()).as_posix()
            there = CommitTree(top, base, "" if inside == "." else f"{inside}/")
        except PatcherError:
            pass  # no commit of TREE's: a source
        else:
            return there, base, there.commit
    made = fetch(base, scratch / "llama.cpp", reporter=reporter)
    return WorkTree(made.path), made.release or base, made.base


def _called(tree: Path) -> tuple[str, str | None]:
    """What people call a folder: the release that was fetched into it, or its name; and its commit."""
    from patcher import git
    from patcher.source import made_of

    known = made_of(tree)
    top = git.find_toplevel(tree)
    commit = git.head(top) if top is not None else None
    if known is not None:
        return known.release or known.locator, known.base
    return tree.resolve().name, commit


def _listed(found: list[TypeFacts], unread: dict[str, str], tree: str, base: str) -> str:
    if not found and not unread:
        return f"{tree} has no type that {base} hasn't"
    lines = [
        f"{tree} has {len(found)} types that {base} hasn't"
        if len(found) > 1
        else f"{tree} has one type that {base} hasn't"
    ]
    for one in found:
        numbers = ", ".join(
            f"{called} {number if number is not None else 'none'}"
            for called, number in (
                ("GGML_TYPE", one.id),
                ("LLAMA_FTYPE", one.ftype),
                ("GGML_FTYPE", one.ggml_ftype),
            )
        )
        lines += [
            f"  {one.upper}: {one.block_size} weights in {one.type_size} bytes ({one.block})",
            f"    numbers      {numbers}",
            f"    dot product  {one.vec_dot or 'none'}, with {one.activations.upper()}",
            f"    gguf-py      {_python(one)}",
        ]
        lines += ["    needs an importance matrix"] if one.requires_imatrix else []
        lines += [f"    {note}" for note in one.notes]
    lines += [f"  {name}: can't be lifted: {why}" for name, why in unread.items()]
    return "\n".join(lines)


def _python(one: TypeFacts) -> str:
    if not one.gguf_py:
        return "doesn't know it"
    return (
        "its number and a class that quantizes"
        if one.gguf_py_class
        else "its number, and no class that quantizes"
    )


def _said(made: Lift, folder: Path) -> str:
    document: dict[str, Any] = made.document()
    lines = [
        f"{folder}: {made.facts.upper}, {document['placed']} edits, all placed in {made.origin.base}",
        f"  as the sets say   {len(made.from_set)}",
        f"  texts of its own  {len(made.own)}",
        f"  not lifted        {len(made.left)} (below)" if made.left else "  not lifted        nothing",
    ]
    for one in made.left:
        lines.append(f"    {one.file}:{one.lines}: {one.what}: {one.reason}")
    if made.absent:
        lines.append(f"  not in the tree   {', '.join(made.absent)}")
    return "\n".join(lines)


def _said_of_each(each: list[Lift], folder: Path) -> str:
    order = ", ".join(str(folder / one.facts.name) for one in each)
    return "\n".join(
        [*(_said(one, folder / one.facts.name) for one in each), f"to be applied in this order: {order}"]
    )
