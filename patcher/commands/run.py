"""``q8a8-patch run``: fetch, apply, build, verify."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patcher.base.console import Output, common_options, shown
from patcher.base.errors import ExitCode
from patcher.commands import values
from patcher.commands.arguments import build_options, type_option

if TYPE_CHECKING:
    from patcher.build import Built

DEFAULT_WORK = Path("q8a8-work")


@click.command("run")
@click.option(
    "--source",
    metavar="LOCATOR",
    shell_complete=values.sources,
    help="The source of llama.cpp, as 'fetch' takes it. [default: its newest release]",
)
@click.option("--ref", metavar="REF", help="The tag, branch or commit, where the source is a repository.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=DEFAULT_WORK,
    show_default=True,
    help="The folder for the checkout and the build.",
)
@type_option
@build_options
@common_options
def command(
    source: str | None,
    ref: str | None,
    work: Path,
    type_name: str,
    targets: tuple[str, ...],
    jobs: int | None,
    cmake_args: tuple[str, ...],
    launcher: str,
    toolchain: Path | None,
    build_type: str,
    allow_shlib_undefined: bool,
    output: Output,
) -> int:
    """Get llama.cpp, add the type, build it, and prove that no undefined symbol remains.

    What it needs is said before anything is downloaded. Run it again to go on where it stopped. Exit code
    1 where a symbol is undefined.
    Example: q8a8-patch run --source npm:node-llama-cpp@3.22.1 --work ./work
    """
    from patcher.build import BuildRequest, build, default_targets
    from patcher.build.forecast import forecast
    from patcher.build.proof import without_elf
    from patcher.build.toolchain import require_compiler
    from patcher.commands.verification import proven
    from patcher.engine import build_fixes, plan_report, transaction
    from patcher.engine.patchset import load
    from patcher.source import fetch
    from patcher.symbols.report import summary
    from patcher.symbols.report import text as findings_text

    reporter = output.reporter
    chosen = load(type_name)
    needs = forecast(work, jobs, cross=toolchain is not None)
    if needs is not None:
        reporter.note(f"needs     {needs.text()}")
        if not needs.fits:
            reporter.warn(f"{work}: the disk has too little room; --work names a folder on another one")
    checkout = fetch(source, work / "llama.cpp", ref=ref, reporter=reporter)
    release = checkout.release or checkout.locator
    reporter.note(f"fetched   {release} -> {shown(checkout.path)}")
    tree = transaction.tree_at(checkout.path)
    native = build_fixes.is_native(cmake_args, cross=toolchain is not None)
    needed = [fix.name for fix in build_fixes.wanted(tree, chosen, require_compiler("CXX"))] if native else []
    for name in needed:
        reporter.note(f"with fix  {name}, which programs for this processor need ('q8a8-patch fixes')")
    patchset = build_fixes.with_fixes(chosen, needed)
    applied = transaction.apply(tree, patchset, reporter=reporter)
    made = applied.plan.extent if applied.written else "there already"
    reporter.note(f"applied   {patchset.type.upper}: {made}")
    request = BuildRequest(
        tree.root,
        work / "build",
        targets or default_targets(tree.root),
        jobs,
        cmake_args,
        allow_shlib_undefined,
        launcher,
        toolchain,
        build_type,
    )
    built = build(request, reporter=reporter, explain=partial(transaction.explain, tree.root))
    reporter.note(f"built     {', '.join(built.targets)} in {built.seconds:.0f} s")
    instead = without_elf(built.bin_dir, strict=built.strict)
    checked = None if instead else proven(built.bin_dir, reporter)
    proof = instead.text() if instead else summary(checked) if checked else ""
    reporter.note(f"{'linked' if instead else 'verified':<10}{proof}")
    document: dict[str, Any] = {
        "checkout": checkout.document(),
        "apply": plan_report.plan_document(applied.plan, base=checkout.base, done=True),
        "build": built.document(),
        "verify": checked.document() if checked else None,
        "linker": instead.document() if instead else None,
    }
    bad = checked is not None and checked.fails("error")
    document["next"] = following = _next(built, patchset.type.upper, work, bad)

    def text() -> str:
        lines = [
            f"release   {release} ({checkout.base[:12]})",
            f"edits     {made}",
            f"build     {built.seconds:.0f} s, {built.compiled} files compiled, {built.compiler},"
            f" {'strictly linked' if built.strict else 'NOT strictly linked'}",
            f"symbols   {proof}",
            f"programs  {shown(built.bin_dir)}",
            f"next      {following}",
        ]
        return "\n".join([*([findings_text(checked), ""] if checked and bad else []), *lines])

    output.emit(document, text)
    return ExitCode.FINDINGS if bad else ExitCode.OK


def _next(built: Built, type_name: str, work: Path, bad: bool) -> str:
    """The command to type now."""
    if bad:
        return f"q8a8-patch verify-symbols {shown(built.bin_dir)} --prove"
    if "llama-quantize" not in built.targets:
        return f"{shown(built.bin_dir / built.targets[0])} --help"
    where = "" if work == DEFAULT_WORK else f" --work {work}"
    return f"q8a8-patch quantize MODEL-F16.gguf MODEL-{type_name}.gguf {type_name}{where}"
