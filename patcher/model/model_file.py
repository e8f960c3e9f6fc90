"""A model as its GGUF files hold it: one file, or the parts that ``llama-gguf-split`` makes."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from patcher.base.progress import SILENT, Reporter
from patcher.model.gguf import GgufError, GgufFile, TensorInfo, read
from patcher.model.gguf_cursor import shrunk

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_HASH_PIECE = 1 << 22  # bytes read at once

_ONE_FOLDER = "put all parts of one model into a folder of their own, and no other files of those names"


@dataclass(frozen=True)
class ModelFile:
    """All parts of a model. ``tensors`` by name, over all parts, in the order of the files."""

    parts: tuple[GgufFile, ...]
    tensors: dict[str, TensorInfo]

    @property
    def path(self) -> Path:
        """The first part's path, by which the model is named in messages."""
        return self.parts[0].path

    @property
    def head(self) -> GgufFile:
        """The part that holds the metadata."""
        return self.parts[0]

    @property
    def architecture(self) -> str:
        """``general.architecture``. Raises :class:`GgufError` where it is missing."""
        return self.head.text("general.architecture")

    def number(self, key: str, default: int | None = None) -> int:
        """The whole number at ``<architecture>.<key>``; raises :class:`GgufError` where there is none."""
        full = f"{self.architecture}.{key}"
        found = self.head.get(full, default)
        if isinstance(found, bool) or not isinstance(found, int):
            raise GgufError(f"{self.path}: looked for the number '{full}' in the metadata, found {found!r}")
        return found

    def by_layer(self, key: str, layer: int) -> int:
        """The same where it may be an array with one number a layer."""
        full = f"{self.architecture}.{key}"
        found = self.head.get(full)
        if isinstance(found, list):
            if not 0 <= layer < len(found) or not isinstance(found[layer], int):
                raise GgufError(f"{self.path}: '{full}' has no number for layer {layer}")
            return int(found[layer])
        return self.number(key)


class _Described(Protocol):
    """A file's description, with or without its tensors' types known."""

    @property
    def path(self) -> Path: ...

    def get(self, key: str, default: Any = None) -> Any: ...


def open_model(path: Path) -> ModelFile:
    """Read the description of the model at ``path``, the first part where there are several.

    Raises :class:`GgufError` for a missing part, a part of another model, or a tensor that is there twice.
    """
    first = read(path)
    parts = parts_of(first, read)
    tensors: dict[str, TensorInfo] = {}
    for part in parts:
        if part.big_endian != first.big_endian:
            raise GgufError(f"{part.path}: has another byte order than {path}", hint=_ONE_FOLDER)
        for tensor in part.tensors:
            if tensor.name in tensors:
                raise GgufError(
                    f"{part.path}: tensor '{tensor.name}' is in {tensors[tensor.name].path.name} too",
                    hint="a part is there twice, or is another model's",
                )
            tensors[tensor.name] = tensor
    require_announced(first, len(tensors))
    return ModelFile(parts, tensors)


def require_announced(first: _Described, count: int) -> None:
    """Raise :class:`GgufError` where a model's first part announces other than ``count`` tensors."""
    # llama-gguf-split --merge leaves a split.count of 0, and llama.cpp counts no tensors of such a file
    announced = first.get("split.tensors.count") if first.get("split.count") else None
    if announced is not None and announced != count:
        raise GgufError(
            f"{first.path}: {announced} tensors announced over all parts, found {count}", hint=_ONE_FOLDER
        )


def require_our_order(model: ModelFile) -> None:
    """Raise :class:`GgufError` for a model of the other byte order: llama.cpp on this machine can't load it.

    What is only read or rewritten here (smooth, gguf) needs no such thing.
    """
    if model.head.big_endian != (sys.byteorder == "big"):
        found, ours = "big" if model.head.big_endian else "little", sys.byteorder
        raise GgufError(
            f"{model.path}: is {found}-endian, and llama.cpp loads {ours}-endian files on this machine",
            hint="turn it round with llama.cpp's gguf-py/gguf/scripts/gguf_convert_endian.py",
        )


_D = TypeVar("_D", bound=_Described)


def parts_of(first: _D, read_part: Callable[[Path], _D]) -> tuple[_D, ...]:
    """All parts of the model whose first is given; the others lie beside it.

    Raises :class:`GgufError` that names a part that is missing, another model's or in another's place.
    """
    path, count = first.path, first.get("split.count", 1)
    if not isinstance(count, int) or not 0 <= count <= 99999:
        raise GgufError(f"{path}: 'split.count': looked for 0 to 99999 parts, found {count!r}")
    if count <= 1:  # 0: was in parts, and has been merged
        return (first,)
    named = _PART.fullmatch(path.name)
    if (
        named is None
        or int(named["count"]) != count
        or int(named["number"]) != 1
        or first.get("split.no") != 0
    ):
        raise GgufError(
            f"{path}: one of {count} parts; looked for the first one, NAME-00001-of-{count:05}.gguf",
            hint="name the first part, under the name that it was made with",
        )
    total = first.get("split.tensors.count")
    parts = [first]
    for number in range(2, count + 1):
        place = part_path(path.with_name(named["stem"] + ".gguf"), number, count)
        if not place.exists():
            raise GgufError(
                f"{place}: No such file: looked for part {number} of {count} of {path.name}",
                hint="put all parts into one folder, under the names that they were made with",
            )
        part = read_part(place)
        if part.get("split.no") != number - 1 or part.get("split.count") != count:
            no = part.get("split.no")
            found = f"part {no + 1}" if isinstance(no, int) else "no part"
            raise GgufError(
                f"{place}: looked for part {number} of {count}, found one that says that it is {found} of"
                f" {part.get('split.count', 1)}",
                hint="a part was copied to the wrong name: get it again",
            )
        if part.get("split.tensors.count") not in (None, total):
            raise GgufError(
                f"{place}: is a part of another model: it announces {part.get('split.tensors.count')} tensors"
                f" over all parts, {path.name} announces {total}",
                hint=_ONE_FOLDER,
            )
        parts.append(part)
    return tuple(parts)


def part_path(path: Path, number: int, count: int) -> Path:
    """``path`` itself for a whole file, else the name of part ``number`` (from 1) of ``count``."""
    if count == 1:
        return path
    stem = path.name[: -len(".gguf")] if path.name.endswith(".gguf") else path.name
    named = _PART.fullmatch(path.name)
    return path.with_name(f"{named['stem'] if named else stem}-{number:05}-of-{count:05}.gguf")


def model_hash(model: ModelFile, reporter: Reporter = SILENT) -> str:
    """SHA-256 over the architecture and every tensor's name, type, shape and bytes, in order of the names.

    Splitting, joining or other metadata (a chat template, say) don't change it.
    """
    digest = hashlib.sha256(model.architecture.encode())
    total = sum(tensor.nbytes for tensor in model.tensors.values())
    done = 0
    with reporter.step("Hashing the model", total=total >> 20) as step:
        for name in sorted(model.tensors):
            tensor = model.tensors[name]
            digest.update(f"\0{name}\0{tensor.type_name}\0{tensor.dims}\0".encode())
            with tensor.path.open("rb") as file:
                file.seek(tensor.offset)
                left = tensor.nbytes
                while left:
                    piece = file.read(min(left, _HASH_PIECE))
                    if not piece:
                        raise shrunk(tensor.path)
                    digest.update(piece)
                    left -= len(piece)
                    done += len(piece)
                    step.update(done=done >> 20, detail=name)
    return digest.hexdigest()
