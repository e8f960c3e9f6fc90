"""One tree, judged: the edits, the sibling's sites, the build, the symbols of what was built."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from patcher import git, merge_audit, symbols
from patcher.audit import SiblingSite, audit
from patcher.base.cache import cache_dir
from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.units import how_many
from patcher.build import BuildFailedError, BuildRequest, build
from patcher.build.proof import without_elf
from patcher.engine import retired, transaction
from patcher.engine.checkout import require_checked_out
from patcher.engine.numbering import is_numbered
from patcher.engine.patchset import PatchSet, load
from patcher.engine.plan import EditPlan, Plan, State
from patcher.engine.planning import make_plan
from patcher.engine.settled import remembered
from patcher.engine.tree import WorkTree
from patcher.guard import merges
from patcher.guard.place import carried_tree, copy_to
from patcher.guard.problem import Judgement, Problem, Stage
from patcher.symbols import repair
from patcher.symbols.report import counted

TARGETS = ("llama-quantize",)  # links all that the type is in: libggml-base, libggml-cpu, libllama


@dataclass(frozen=True)
class CheckRequest:
    """What to judge, and how far."""

    source: str = "."
    ref: str | None = None
    work: Path | None = None  # where the copy and the build go; None: the user's cache
    targets: tuple[str, ...] = TARGETS
    static: bool = False  # read only: no copy, no build
    keep_going: bool = False  # build although what was read is wrong already
    expect: str = "auto"
    fail_on: str = "error"
    jobs: int | None = None
    cmake_args: tuple[str, ...] = ()
    launcher: str = "auto"
    merges: str = "auto"  # A..B whose merge commits are audited; auto: those of the pull request; none
    merge_waivers: tuple[Path, ...] = ()


@dataclass
class _Course:
    """A check under way."""

    stages: list[Stage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step; it failed where problems of severity error came of it."""
        start, before = time.monotonic(), len(self.problems)
        said: list[str] = []
        yield said.append
        failed = any(one.severity == "error" for one in self.problems[before:])
        seconds = time.monotonic() - start
        self.stages.append(Stage(name, "failed" if failed else "ok", seconds, "; ".join(said)))

    @property
    def broken(self) -> bool:
        return any(one.severity == "error" for one in self.problems)


def check(
    request: CheckRequest, *, reporter: Reporter = SILENT, patchset: PatchSet | None = None
) -> Judgement:
    """Judge ``request.source``; nothing is written in it, and what is built is a copy.

    What can be known by reading comes first: a build is not begun where that has found an error, unless
    ``keep_going``. Raises :class:`UsageError` for a source that is no llama.cpp or carries none,
    :class:`SourceError` where it can't be had.
    """
    patchset = patchset or load()
    here = Path(request.source)
    local = here.is_dir() and request.ref is None
    if request.static and not local:
        why = "reads a folder as it lies" if here.is_dir() else f"{request.source} is not a folder to read"
        which = "--ref" if here.is_dir() else "--static"
        raise UsageError(f"--static: {why}", hint=f"leave {which} out")
    found = carried_tree(here) if here.is_dir() else None
    source = str(found) if found is not None else request.source
    work = request.work or cache_dir("guard", re.sub(r"\W+", "-", str(here.resolve())).strip("-")[-60:])
    course = _Course()
    release = commit = None
    root = Path(source)
    if not request.static:
        with course.stage("fetch") as say:
            copy = copy_to(work, source, request.ref, reporter)
            root, release, commit = copy.path, copy.release, copy.commit
            say(release or commit[:12])
    tree = transaction.tree_at(root)
    patchset = remembered(patchset, tree)
    require_checked_out(tree, patchset)
    with course.stage("edits") as say:
        plan = make_plan(tree, patchset, reporter)
        carried = request.expect == "carried" or (request.expect == "auto" and carries(plan))
        course.problems += list(edit_problems(plan, carried=carried))
        say(_edits(plan, carried))
    if has_the_type(patchset):
        with course.stage("siblings") as say:
            sites = audit(tree, patchset, plan=plan, reporter=reporter)
            course.problems += [_unhandled(one.site, patchset) for one in sites.new]
            said = f"{how_many(len(sites.sites), 'site')} of {patchset.type.sibling.upper()}"
            say(f"{said}, {len(sites.new)} new")
    else:
        course.stages.append(Stage("siblings", "skipped", 0.0, "the type itself is left out of this tree"))
    _merges(course, request, found, reporter)
    if request.static or (course.broken and not request.keep_going):
        why = "not asked for" if request.static else "what was read is wrong already"
        course.stages += [Stage(name, "skipped", 0.0, why) for name in ("build", "symbols")]
    else:
        if not carried and not plan.conflicts:
            with course.stage("apply") as say:
                transaction.apply(tree, patchset, reporter=reporter)
                say(plan.extent)
        _build(course, request, tree, work, reporter)
    prefix = _prefix(found) if found is not None else None
    return Judgement(
        request.source, release, commit, carried, prefix, request.fail_on,
        tuple(course.stages), tuple(course.problems),
    )  # fmt: skip


def _merges(course: _Course, request: CheckRequest, tree: Path | None, reporter: Reporter) -> None:
    """Audit the merge commits of the change, where the tree lies in a repository; nothing is checked out."""
    top = git.find_toplevel(tree) if tree is not None else None
    if tree is None or top is None or request.merges == "none":
        return
    wanted: str | None = request.merges
    if wanted == "auto":
        try:
            wanted = merges.range_of(top)
        except UsageError as why:
            course.stages.append(Stage("merges", "skipped", 0.0, str(why)))
            return
    if wanted is None:
        return
    prefix = git.prefix(top, tree)
    with course.stage("merges") as say:
        rules = merge_audit.load(request.merge_waivers)
        done = merge_audit.audit_range(top, wanted, prefix=prefix, waivers=rules, reporter=reporter)
        found = [merges.problem(merge, one, prefix) for merge in done for one in merge.findings]
        course.problems += found
        say(f"{how_many(len(done), 'merge commit')} in {wanted}, {how_many(len(found), 'finding')}")


def carries(plan: Plan) -> bool:
    """Whether the tree has the type of its own: a number for it, or the most of its parts."""
    there = [edit for edit in plan.edits if edit.state in (State.PRESENT, State.APPLIED)]
    return any(is_numbered(edit.edit) for edit in there) or len(there) > len(plan.missing)


def has_the_type(patchset: PatchSet) -> bool:
    """Whether what is chosen has the type's numbers in it, and isn't only what helps other types."""
    return any(is_numbered(edit) for edit in patchset.edits)


def edit_problems(plan: Plan, *, carried: bool) -> Iterator[Problem]:
    """What the plan says against the tree; in one that carries the type, what is missing as well."""
    name = plan.patchset.type.upper
    lines = {file.path: file for file in plan.files}
    chosen = "" if plan.patchset.home is None else f" --type {Path(plan.patchset.source).name}"
    for place in plan.foreign:
        if place.construct == "number":
            yield Problem("number-clash", f"{place.name}: {place.consequence}", place.file, place.line)
        elif place.edit is None and carried:
            at = f"{place.construct} in {place.owner}" if place.owner else place.construct
            said = f"{place.name} ({at}): {place.consequence}"
            yield Problem("by-another-hand", said, place.file, place.line)
    for edit in plan.edits:
        if edit.state is State.CONFLICT:
            message = f"{name}: edit '{edit.edit.id}' can't be placed: {edit.detail}"
            known = ", ".join(plan.patchset.known_good)
            yield Problem(
                "edit-conflict", message, edit.file, _line_said(edit.detail), f"known to work: {known}"
            )
        elif edit.state is State.UNPLACED:
            yield Problem(
                "edit-unplaced", f"{name}: edit '{edit.edit.id}' is left out: {edit.detail}", edit.file
            )
        elif edit.is_old:
            message = f"{name}: edit '{edit.edit.id}' is as an earlier q8a8-patch wrote it"
            if edit.edit.kind == retired.KIND:
                message = f"{name}: '{edit.edit.id}' is an earlier q8a8-patch's, and not needed any more"
            yield Problem("edit-old", message, edit.file, None, f"'q8a8-patch apply{chosen} --update'")
        elif edit.differs and not edit.resolution:
            message = f"{name}: edit '{edit.edit.id}' isn't as it would be written: {edit.differs}"
            ways = (
                f"'q8a8-patch apply{chosen} --replace {edit.edit.id}' puts ours back, --keep says it is meant"
            )
            yield Problem("edit-differs", message, edit.file, _line_said(edit.differs), ways)
        elif edit.state is State.MISSING and carried:
            where = [owner for owner in edit.owners if owner]
            there = f" ({'; '.join(where)})" if where else ""
            message = (
                f"{name}: edit '{edit.edit.id}' is missing{there}. It is there because: {edit.edit.purpose}"
            )
            file = lines.get(edit.file)
            line = _line_of(file.before, edit) if file is not None and not file.is_new else None
            yield Problem(
                "edit-missing", message, edit.file, line, f"'q8a8-patch apply{chosen}' puts it back"
            )


def _line_said(detail: str) -> int | None:
    found = re.search(r"\bin line (\d+)", detail)
    return int(found[1]) if found else None


def _line_of(before: bytes, edit: EditPlan) -> int | None:
    return before.count(b"\n", 0, edit.splices[0].start) + 1 if edit.splices else None


def _edits(plan: Plan, carried: bool) -> str:
    there = sum(edit.state in (State.APPLIED, State.PRESENT) for edit in plan.edits)
    needed = there + len(plan.missing) + len(plan.conflicts)  # the tree has no place for the others
    if carried:
        what = "carries the type" if has_the_type(plan.patchset) else "has what is chosen for it"
        return f"the tree {what}: {there} of {how_many(needed, 'edit')} there"
    return f"{len(plan.missing)} of {how_many(needed, 'edit')} can be placed, {len(plan.conflicts)} can't"


def _unhandled(site: SiblingSite, patchset: PatchSet) -> Problem:
    where = f" in {site.function}" if site.function else ""
    message = (
        f"{patchset.type.sibling.upper()} is named here ({site.construct}{where}), "
        f"{patchset.type.upper} is not, and no waiver says why: {site.text[:120]}"
    )
    return Problem("unhandled-sibling", message, site.file, site.line)


def _build(course: _Course, request: CheckRequest, tree: WorkTree, work: Path, reporter: Reporter) -> None:
    root = tree.root
    made = None
    with course.stage("build") as say:
        wanted = BuildRequest(
            root, work / "build", request.targets, request.jobs, request.cmake_args, launcher=request.launcher
        )
        try:
            made = build(wanted, reporter=reporter, explain=partial(transaction.explain, root))
            say(f"{made.compiled} files compiled, {made.compiler}, {made.launcher or 'no compiler cache'}")
        except BuildFailedError as why:
            course.problems.append(_failed(why, root))
            say(f"the log lies in {why.log}")
    if made is None:
        course.stages.append(Stage("symbols", "skipped", 0.0, "there is no build"))
        return
    with course.stage("symbols") as say:
        instead = without_elf(made.bin_dir, strict=made.strict)
        if instead is not None:
            say(instead.text())
            return
        demands = symbols.Demands(second_reader=True)
        report = symbols.check([made.bin_dir], demands=demands, reporter=reporter)
        report = repair.suggested(report, repair.fixes(report, reporter=reporter))
        for finding in report.findings:
            if finding.severity != "note":
                name = Path(finding.object).relative_to(made.build_dir).as_posix()
                message = f"{finding.rule}: {finding.demangled}: {finding.detail}".rstrip(": ")
                course.problems.append(Problem(finding.rule, message, name, None, finding.suggestion or ""))
        say(f"{counted(report)}, read by two readers")


def _failed(why: BuildFailedError, root: Path) -> Problem:
    found = why.diagnosis
    inside = found.file is not None and found.file.is_relative_to(root)
    file = found.file.relative_to(root).as_posix() if inside and found.file is not None else None
    message = f"the build fails: {found.message}" + (f" ({found.edit})" if found.edit else "")
    return Problem("build-failed", message, file, found.line if file else None, found.hint or "")


def _prefix(tree: Path) -> str | None:
    """Where ``tree`` lies below the working folder; None where it lies elsewhere."""
    try:
        return tree.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return None
