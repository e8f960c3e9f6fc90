"""What a shell is offered where an option or argument wants a value: its Tab key asks here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from patcher.base.errors import PatcherError

Items = list[CompletionItem]


def _begun(values: Iterable[tuple[str, str]], begun: str) -> Items:
    return [CompletionItem(value, help=what) for value, what in values if value.startswith(begun)]


def types(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Types that ship, and files."""
    from patcher.engine.type_file import SHIPPED

    names = [(name.upper() if begun[:1].isupper() else name, "ships") for name in SHIPPED]
    return [*_begun(names, begun), CompletionItem(begun, type="file")]


def sources(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """What fetch takes: files and folders, and the packages that ship llama.cpp, whose version follows."""
    packages = [
        ("npm:node-llama-cpp@", "a version follows"),
        ("pypi:llama-cpp-python==", "a version follows"),
    ]
    return [*_begun(packages if begun else [], begun), CompletionItem(begun, type="file")]


def launchers(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """What ``--compiler-launcher`` takes."""
    what = {"auto": "the first that is installed", "ccache": "", "sccache": "", "none": "compile everything"}
    return _begun(what.items(), begun)


def build_types(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """CMake's own build types."""
    return _begun([(name, "") for name in ("Release", "Debug", "RelWithDebInfo", "MinSizeRel")], begun)


def targets(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Programs of llama.cpp: those that are built unasked, and the two that most people run."""
    from patcher.build import DEFAULT_TARGETS

    return _begun([(name, "") for name in ("llama-cli", "llama-server", *DEFAULT_TARGETS)], begun)


def files(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Files, for an argument that may be an address as well."""
    return [CompletionItem(begun, type="file")]


def edits(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Edits and groups of the type that the line names so far."""
    from patcher.engine.patchset import load

    try:
        patchset = load(context.params.get("type_name") or "q8_a8")
    except PatcherError:  # the type's file isn't right: nothing can be offered, and the command says why
        return []
    groups = [(group.id, group.subject) for group in patchset.groups]
    return _begun([*groups, *((edit.id, edit.purpose) for edit in patchset.edits)], begun)


def fixes(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Build fixes."""
    from patcher.engine import build_fixes

    return _begun([(fix.name, fix.title) for fix in build_fixes.catalogue().values()], begun)


def rules(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Rules of verify-symbols."""
    from patcher.symbols.rules import RULES

    return _begun([(rule.id, rule.summary) for rule in RULES.values()], begun)


def linkers(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """What ``--emulate`` takes."""
    from patcher.symbols.emulate.linkers import FAMILIES

    said = "what this linker says"
    return _begun([*((name, said) for name in FAMILIES), ("loader", "ld.so")], begun)


def architectures(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """What ``type prove --arch`` takes."""
    from patcher.prove.architecture import names

    return _begun([(name, "") for name in names()], begun)


def releases(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """The tags of the repository around the current folder, the newest first."""
    from patcher import git

    top = git.find_toplevel(Path.cwd())
    if top is None:
        return []
    names = git.run(top, "tag", "--sort=-creatordate").decode("utf-8", "replace").splitlines()
    return _begun([(name, "") for name in names], begun)


def cache_parts(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Parts of the cache."""
    from patcher.base.cache import PARTS

    return _begun(PARTS.items(), begun)


def jobs(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Jobs of the manifest that the line names so far."""
    from patcher.evaluate import grid

    manifest = context.params.get("manifest")
    try:
        found = grid.load(manifest) if manifest is not None else []
    except PatcherError:  # no manifest, or a wrong one: nothing can be offered, and the command says why
        return []
    return _begun([(job.id, job.name) for job in found], begun)


def file_types(context: click.Context, parameter: click.Parameter, begun: str) -> Items:
    """Types of models: those of the build's llama-quantize; without a build, those that ship."""
    from patcher.engine.type_file import SHIPPED
    from patcher.programs.folder import Programs
    from patcher.programs.llama_quantize import known_types

    work = context.params.get("work") or Path("q8a8-work")
    try:
        names = known_types(Programs(context.params.get("folder") or work / "build" / "bin"))
    except PatcherError:  # the command says it
        names = []
    names = names or [name.upper() for name in SHIPPED]
    return _begun([(name if not begun[:1].islower() else name.lower(), "") for name in names], begun)
