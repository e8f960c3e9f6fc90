"""Both sides of a proof: a copy of the base with the type put in, and the tree, built and called alike."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from patcher.base import hashing, lock
from patcher.base.cache import cache_dir
from patcher.base.errors import BuildError, UsageError
from patcher.base.os_errors import refused
from patcher.base.progress import SILENT, Reporter
from patcher.build import BuildFailedError, BuildRequest, build
from patcher.engine import transaction
from patcher.engine.patchset import PatchSet, load
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from patcher.prove import rows
from patcher.prove.architecture import Architecture, architectures
from patcher.prove.beside import judged
from patcher.prove.proof import ArchitectureProof, NotCompiled, Part, Proof, compared
from patcher.prove.running import Called, Harness, compiled
from patcher.source import fetch

TARGETS = ("ggml-base", "ggml-cpu")
ITS_OWN = ("disk", "memory")  # steps of a build that fail for this machine's sake, whatever is compiled
OPERATORS = ("mul_mat", "mul_mat_id", "get_rows", "cpy", "cpy_back", "add", "out_prod")


@dataclass(frozen=True)
class ProveRequest:
    """``type_file`` (or the folder of it) put into ``base``, any source, against the tree at ``tree``.

    ``architectures`` are names, none for all; ``work`` is the folder for the copy and the builds, None for
    one in the cache.
    """

    type_file: Path
    tree: Path
    base: str
    architectures: tuple[str, ...] = ()
    work: Path | None = None
    jobs: int | None = None
    launcher: str = "auto"


@dataclass(frozen=True)
class _Side:
    """One of the two: its tree, and what its folders are called by."""

    name: str
    root: Path


def prove(request: ProveRequest, *, reporter: Reporter = SILENT) -> Proof:
    """Build both sides on every architecture that this machine can run, and compare what the type computes.

    One that a compiler doesn't take is reported as not compiled, and the others are proved. Code of both
    trees is compiled and run. Nothing is written into the tree, or into a base that is a folder.

    Raises :class:`UsageError` for a tree without the type, :class:`ConflictError` where the base has no
    place for it, :class:`SourceError` where the base can't be had, :class:`BuildError` where nothing could be
    compiled and run, or the disk or the memory is full.
    """
    patchset = load(request.type_file)
    upper = patchset.type.upper
    tree = transaction.tree_at(request.tree)
    _require_type(tree.root, f"GGML_TYPE_{upper}")
    chosen = architectures(request.architectures)
    work = (request.work or _default_work(request)).resolve()
    if work.is_relative_to(tree.root.resolve()):
        raise UsageError(f"{work}: lies in the tree {tree.root}", hint="name a --work outside of it")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise refused(work, why, what="made") from why
    proof = Proof(upper, str(tree.root), request.base, str(work))
    with lock.hold(work / "prove.lock", seconds=0):
        base, known = _base_with_type(request, patchset, work, reporter)
        sides = (_Side("tree", tree.root.resolve()), _Side("base", base))
        for one in chosen:
            proof.architectures.append(_on(one, sides, known, patchset, request, work, reporter))
    if not any(one.compared for one in proof.architectures):
        lacks = "; ".join(f"{one.name}: {one.lacking}" for one in proof.architectures)
        logs = [one.not_compiled.log for one in proof.architectures if one.not_compiled]
        raise BuildError(
            f"{upper}: nothing was proved: {lacks}", hint=f"the log lies in {logs[0]}" if logs else None
        )
    return proof


def _default_work(request: ProveRequest) -> Path:
    said = f"{request.type_file.resolve()}\0{request.tree.resolve()}\0{request.base}"
    return cache_dir("prove", hashing.of_text(said)[:12])


def _require_type(root: Path, enumerator: str) -> None:
    header = root / "ggml" / "include" / "ggml.h"
    if not re.search(rf"\b{enumerator}\b", header.read_text(encoding="utf-8", errors="replace")):
        raise UsageError(
            f"{header}: looked for {enumerator}, found none", hint="--tree names the tree that has the type"
        )


def _base_with_type(
    request: ProveRequest, patchset: PatchSet, work: Path, reporter: Reporter
) -> tuple[Path, frozenset[str]]:
    """A fresh copy of the base with the type in it, and the types that the base has without it.

    The user's own is never written.
    """
    place = work / f"base-with-{patchset.type.name}"
    with tempfile.TemporaryDirectory(prefix=".base-", dir=work) as draft:
        made = Path(draft) / place.name
        fetch(request.base, made, reporter=reporter)
        header = (made / "ggml" / "include" / "ggml.h").read_text(encoding="utf-8", errors="replace")
        applied = transaction.apply(transaction.tree_at(made), patchset, reporter=reporter)
        if not applied.written:
            raise UsageError(
                f"{request.base}: has {patchset.type.upper} already, so that nothing would be proved",
                hint="--base names a tree without the type",
            )
        _keep_times(place, made)
        shutil.rmtree(place, ignore_errors=True)
        made.replace(place)
    return place, frozenset(name.upper() for name in re.findall(r"\bGGML_TYPE_(\w+)", header))


def _keep_times(old: Path, new: Path) -> None:
    """What is as it was in the copy of an earlier proof keeps its time, so that it isn't compiled again."""
    for folder, names, files in os.walk(new):
        names[:] = [name for name in names if name != ".git"]
        for name in files:
            made = Path(folder) / name
            there = old / made.relative_to(new)
            if made.is_symlink() or there.is_symlink() or not there.is_file():
                continue
            if filecmp.cmp(made, there, shallow=False):
                facts = there.stat()
                os.utime(made, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _on(
    architecture: Architecture,
    sides: tuple[_Side, _Side],
    known: frozenset[str],
    patchset: PatchSet,
    request: ProveRequest,
    work: Path,
    reporter: Reporter,
) -> ArchitectureProof:
    """One architecture's proof."""
    if architecture.lacking:
        return ArchitectureProof(architecture.name, "", lacking=architecture.lacking)
    made = ArchitectureProof(architecture.name, architecture.way)
    called = []
    for side in sides:
        wanted = BuildRequest(
            side.root,
            work / f"build-{side.name}-{architecture.name}",
            TARGETS,
            request.jobs,
            architecture.cmake_args,
            launcher=request.launcher,
            toolchain=architecture.toolchain(work),
        )
        try:
            done = build(wanted, reporter=reporter, explain=partial(transaction.explain, side.root))
        except BuildFailedError as why:
            if why.diagnosis.step in ITS_OWN:
                raise
            made.not_compiled = _not_compiled(side, why, patchset)
            made.lacking = made.not_compiled.said()
            reporter.warn(f"{architecture.name}: {made.lacking}; the log lies in {why.log}")
            return made
        made.compiler = done.compiler
        place = done.build_dir / "prove"
        called.append(
            compiled(side.root, done.bin_dir, f"GGML_TYPE_{patchset.type.upper}", architecture, place)
        )
    run = work / f"run-{architecture.name}"
    run.mkdir(exist_ok=True)
    with reporter.step(f"Comparing on {architecture.name}"):
        first = [_facts(one, run) for one in called]
        if all(one.ended for one in first):
            said = f"{first[0].ended}: {first[0].last_words}"
            made.lacking = f"compiled, but nothing can be called ({said.strip(': ')})"
        else:
            made.compared = _compared(called[0], called[1], run, _partner(first[0], known))
    return made


def _not_compiled(side: _Side, why: BuildFailedError, patchset: PatchSet) -> NotCompiled:
    """The first error, and whether it stands in what the type has there."""
    found = why.diagnosis
    place, text = found.place, "unknown"
    file = found.file.resolve() if found.file is not None else None
    if file is not None and found.line is not None and file.is_relative_to(side.root):
        path = file.relative_to(side.root).as_posix()
        place = f"{path}:{found.line}"
        text = "type" if _is_of_the_type(side.root, path, found.line, patchset) else "own"
    return NotCompiled(side.name, f"{place}: {found.message}" if place else found.message, text, str(why.log))


def _is_of_the_type(root: Path, path: str, line: int, patchset: PatchSet) -> bool:
    """Whether one of the type's edits is what stands at that line, by whoever it was written."""
    lines = (root / path).read_bytes().splitlines(keepends=True)
    start = sum(map(len, lines[: line - 1]))
    end = start + len(lines[line - 1]) if line <= len(lines) else start
    return any(
        first < end and start < last
        for edit in make_plan(WorkTree(root), patchset).edits
        if edit.file == path
        for first, last in edit.there
    )


def _facts(harness: Harness, run: Path) -> Called:
    """What the type is; of a program that ends even here, nothing can be said."""
    rows.write(run / "numbers", *rows.any_bytes())
    return harness.call("facts", run / "numbers", run / "said")


def _partner(facts: Called, known: frozenset[str]) -> str:
    """What the type is multiplied with, where that is one of the types that the base has without it."""
    name = facts.records.get("facts.partner", ("text", b""))[1].decode("utf-8", "replace").partition(",")[0]
    return name if name.upper() in known else ""


def _compared(tree: Harness, base: Harness, run: Path, partner: str) -> list[Part]:
    parts: list[Part] = []
    numbers = run / "numbers"

    def both(what: str, label: str) -> None:
        theirs, ours = (
            one.call(what, numbers, run / f"said-{number}") for number, one in enumerate((tree, base))
        )
        parts.extend(judged(compared(label, theirs, ours), what, theirs, ours, partner))

    for name, weights, activations in rows.patterns():
        rows.write(numbers, weights, activations)
        both("rows", f"{name} rows")
    # the last ones, which are like a model's, are what operators and files get
    for operator in OPERATORS:
        both(f"op:{operator}", f"{operator} by a graph")
    parts += _files(tree, base, numbers, run)
    rows.write(numbers, *rows.any_bytes())
    both("bytes", "any bytes as blocks")
    return parts


def _files(tree: Harness, base: Harness, numbers: Path, run: Path) -> list[Part]:
    """A GGUF file that each writes and the other reads: the same blocks, the same weights."""
    files = (run / "tree.gguf", run / "base.gguf")
    written = []
    for one, file in zip((tree, base), files, strict=True):
        file.unlink(missing_ok=True)
        written.append(one.call("write", numbers, run / "said", file))
    parts = list(compared("a GGUF, written", *written))
    for reader, file, there, way in (
        (base, files[0], written[0], "tree to base"),
        (tree, files[1], written[1], "base to tree"),
    ):
        if there.ended:
            continue  # which is a part already
        read = reader.call("read", numbers, run / "said", file)
        kept = [
            Called({key: one for key, one in each.records.items() if not key.startswith("facts.")})
            for each in (there, read)
        ]
        if read.ended:
            parts.append(Part(f"a GGUF, {way}", "reading", 1, 1, detail=f"{read.ended} ({read.last_words})"))
        else:
            parts += compared(f"a GGUF, {way}", *kept)
    return parts
