"""Archives of a few bytes that stand for many: refused while they are read, in time that their bytes take."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from patcher.base.errors import SourceError
from patcher.source import archive, tar_reader
from patcher.source import members as archive_members

Made = Callable[[Path], None]
SECONDS = 5.0  # of the processor; what is refused takes a few tenths


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def tar(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> Made:
    def make(place: Path) -> None:
        with tarfile.open(place, "w:gz", format=form) as out:
            for info in members:
                out.addfile(info, io.BytesIO(bytes(info.size)))

    return make


def raw(*blocks: bytes) -> Made:
    def make(place: Path) -> None:
        place.write_bytes(gzip.compress(b"".join(blocks) + bytes(1024)))

    return make


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(kind: bytes, data: bytes) -> bytes:
    return header(kind, len(data)) + data + bytes(-len(data) % 512)


def sparse_file(size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.size = size
    return info


BOMBS: dict[str, tuple[Made, str]] = {
    "one-long-link": (tar(link("l/x", "a/" * 30_000 + "b")), "a header of|is a link to a path of"),
    "links-through-each-other": (
        tar(*(link(f"{n}", "a/../" * 700 + f"{n + 1}") for n in range(39)), *(link(f"x{n}", "0") for n in range(300))),
        "all lead through more than|leads out",
    ),
    "a-header-without-end": (raw(header(tarfile.XHDTYPE, 3 << 30)), "a header of 3221225472 bytes"),
    "a-long-name-without-end": (raw(header(tarfile.GNUTYPE_LONGNAME, 3 << 30)), "a header of 3221225472"),
    "global-keys": (
        raw(pax(tarfile.XGLTYPE, b"".join(b"11 k%04d=v\n" % n for n in range(1000))), header(tarfile.REGTYPE, 0)),
        "1000 global keys",
    ),
    "digits": (raw(pax(tarfile.XHDTYPE, b"1" * 16_000), header(tarfile.REGTYPE, 0)), "more than 64 digits"),
    "headers-in-headers": (
        raw(*(pax(tarfile.GNUTYPE_LONGNAME, b"a\0") for _ in range(5000)), header(tarfile.REGTYPE, 0)),
        "can't be read",
    ),
    "a-sparse-file": (raw(header(tarfile.GNUTYPE_SPARSE, 0)), "a sparse file"),
    "zeros": (tar(sparse_file(200 << 20)), "brings the size above"),
    "deep-names": (
        tar(*(tarfile.TarInfo(f"{n}/" + "a/" * 1900 + "b") for n in range(400))),
        "brings the names above 1 MB",
    ),
    "a-name-without-end": (tar(tarfile.TarInfo("a/" * 5000)), "has a name of"),
    "many": (tar(*(tarfile.TarInfo(f"{n}") for n in range(2001)), form=tarfile.USTAR_FORMAT), "is one more than"),
}  # fmt: skip


def refused(place: Path, folder: Path) -> tuple[str, float, int]:
    """What is said of an archive, the seconds that it took, and the bytes."""
    tracemalloc.start()
    before = time.process_time()
    try:
        with pytest.raises(SourceError) as caught:
            archive.unpack(place, lambda name: name, folder)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert not folder.exists() or not any(folder.iterdir())
    return str(caught.value), time.process_time() - before, peak


@pytest.mark.parametrize("name", BOMBS)
def test_a_tar_that_stands_for_much(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "MAX_MEMBERS", 2000)  # the limits as they are take the test a minute
    monkeypatch.setattr(archive_members, "MAX_NAMES", 1 << 20)
    make, reason = BOMBS[name]
    make(tmp_path / "x.tar.gz")
    said, took, peak = refused(tmp_path / "x.tar.gz", tmp_path / "out")
    assert any(part in said for part in reason.split("|")), said
    assert len(said) < 1000
    assert took < 4 * SECONDS  # tracing memory takes its time
    assert peak < 200 << 20


def zipped(place: Path, count: int) -> bytes:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as out:
        for number in range(count):
            out.writestr(str(number), b"0" * 10)
    return place.read_bytes()


def test_a_directory_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "x.zip"
    zipped(place, 30)
    assert len(archive.names(place)) == 30
    monkeypatch.setattr(archive_members, "MAX_DIRECTORY", 1000)
    assert "its directory has 1" in refused(place, tmp_path / "out")[0]


def test_a_zip_for_more_than_four_gigabytes(tmp_path: Path) -> None:
    place = tmp_path / "x.zip"
    data = zipped(place, 3)
    at = data.rindex(b"PK\x05\x06")
    place.write_bytes(data[:at] + b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1) + data[at:])
    assert "more than 4 GB" in refused(place, tmp_path / "out")[0]


def test_entries_that_share_their_bytes(tmp_path: Path) -> None:
    """Each of a thousand entries in the directory is the one member with a megabyte of zeros."""
    place = tmp_path / "x.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("0000", bytes(1 << 20))
    data = place.read_bytes()
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    rows = [entry.replace(b"0000", b"%04d" % n) for n in range(1000)]
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entry) * 1000, start, 0)
    place.write_bytes(data[:start] + b"".join(rows) + end)
    assert "brings the size above" in refused(place, tmp_path / "out")[0]


def test_a_dictionary_of_any_size(tmp_path: Path) -> None:
    """LZMA's header says how much memory the reader has to take; it isn't taken before it is used."""
    place = tmp_path / "x.tar.xz"
    with tarfile.open(place, "w:xz", format=tarfile.PAX_FORMAT) as out:
        out.addfile(tarfile.TarInfo("a"))
    assert archive.names(place) == ["a"]
    packed = lzma.compress(bytes(10240), lzma.FORMAT_ALONE)
    place.write_bytes(packed[:1] + b"\xff\xff\xff\xff" + packed[5:])
    with pytest.raises(SourceError):
        archive.unpack(place, lambda name: name, tmp_path / "out")


def test_many_good_links_are_no_bomb(tmp_path: Path) -> None:
    tar(tarfile.TarInfo("a/b/c"), *(link(f"l/{n}", "../a/b/c") for n in range(2000)))(tmp_path / "x.tar.gz")
    assert archive.unpack(tmp_path / "x.tar.gz", lambda name: name, tmp_path / "out") == 2001


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_long_names_are_read_as_ever(form: int, mode: str, tmp_path: Path) -> None:
    place, name = tmp_path / "x.tar", "a" * 150 + "/" + "ü" * 100 + "/b"
    with tarfile.open(place, mode, format=form, pax_headers={"comment": "c" * 40}) as out:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = 3
        out.addfile(info, io.BytesIO(b"abc"))
        out.addfile(link("c", "d" * 150))
    assert tar_reader.is_tar(place)
    assert (
        archive.unpack(place, lambda path: path if path != PurePosixPath("c") else None, tmp_path / "out")
        == 1
    )
    assert (tmp_path / "out" / name).read_bytes() == b"abc"
