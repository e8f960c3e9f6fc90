"""Hostile archives are refused and leave nothing behind; good ones unpack to the byte."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from patcher.base.errors import SourceError
from patcher.source import archive
from patcher.source import members as archive_members

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile, of a zip that is meant to be so


def everything(name: PurePosixPath) -> PurePosixPath | None:
    return name


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def tar(place: Path, *members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(place, mode, format=tarfile.PAX_FORMAT) as out:  # type: ignore[call-overload]
        for member in members:
            info, data = member if isinstance(member, tuple) else (member, b"")
            if info.isreg():
                info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return place


def zipped(place: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            out.writestr(info, data)
    return place


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


GOOD = (entry("good"), b"first")

# name -> (members, what the error must say)
HOSTILE: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo], str]] = {
    "parent": ([(entry("../evil"), b"x")], "'../evil' leads out"),
    "parent-inside": ([(entry("a/../../evil"), b"x")], "'a/../../evil' leads out"),
    "absolute": ([(entry("/q8a8-evil"), b"x")], "'/q8a8-evil' has an absolute path"),
    "drive": ([(entry("C:/evil"), b"x")], "'C:/evil' has an absolute path"),
    "drive-relative": ([(entry("C:evil"), b"x")], "'C:evil' has an absolute path"),
    "backslash": ([(entry("..\\evil"), b"x")], "not portable"),
    "nul": ([(entry("\u00e4vil\0.txt"), b"x")], "not portable"),
    "link-absolute": ([entry("l", tarfile.SYMTYPE, "/etc/passwd")], "'l' is a link that leads out, to '/etc/passwd'"),
    "link-relative": ([entry("d/l", tarfile.SYMTYPE, "../../evil")], "'d/l' is a link that leads out"),
    "link-chain": (
        [entry("d/up", tarfile.SYMTYPE, ".."), entry("l", tarfile.SYMTYPE, "d/up/../evil")],
        "'l' is a link that leads out",
    ),
    "link-chain-later": (
        [entry("l", tarfile.SYMTYPE, "d/up/../evil"), entry("d/up", tarfile.SYMTYPE, "..")],
        "'l' is a link that leads out",
    ),
    "link-circle": ([entry("a", tarfile.SYMTYPE, "b"), entry("b", tarfile.SYMTYPE, "a")], "is a link that leads out"),
    "link-empty": ([entry("a", tarfile.SYMTYPE, "")], "is a link that leads out"),
    "hard-link": ([entry("h", tarfile.LNKTYPE, "good")], "'h' is a hard link"),
    "hard-link-out": ([entry("h", tarfile.LNKTYPE, "../../etc/passwd")], "'h' is a hard link"),
    "device": ([entry("dev", tarfile.CHRTYPE)], "'dev' is a special file"),
    "block": ([entry("dev", tarfile.BLKTYPE)], "'dev' is a special file"),
    "fifo": ([entry("pipe", tarfile.FIFOTYPE)], "'pipe' is a special file"),
    "twice": ([(entry("good"), b"second")], "'good' comes twice"),
    "twice-spelled": ([(entry("./good"), b"second")], "'good' comes twice"),
    "file-then-folder": ([entry("good", tarfile.DIRTYPE)], "'good' comes twice"),
    "folder-then-file": ([(entry("d/x"), b"x"), (entry("d"), b"x")], "'d' comes twice"),
    "folder-then-link": ([(entry("d/x"), b"x"), entry("d", tarfile.SYMTYPE, "good")], "'d' comes twice"),
    "below-file": ([(entry("good/evil"), b"x")], "'good/evil' lies below a file or a link"),
    "below-link": (
        [entry("l", tarfile.SYMTYPE, "d"), (entry("l/evil"), b"x")],
        "'l/evil' lies below a file or a link",
    ),
    "no-name": ([(entry("."), b"x")], "'.' has no name|'.' comes twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_hostile_tar(tmp_path: Path, case: str, mode: str) -> None:
    members, says = HOSTILE[case]
    place = tar(tmp_path / "bad.tar", GOOD, *members, mode=mode)
    with pytest.raises(SourceError, match=f"bad.tar: member .*({says}).*; nothing was unpacked"):
        archive.unpack(place, everything, tmp_path / "in" / "out")
    assert listing(tmp_path) == ["bad.tar"]
    assert not Path("/q8a8-evil").exists()


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_members_count_even_when_not_wanted(tmp_path: Path, case: str) -> None:
    place = tar(tmp_path / "bad.tar", GOOD, *HOSTILE[case][0])
    with pytest.raises(SourceError, match="nothing was unpacked"):
        archive.unpack(place, lambda name: name if name.name == "good" else None, tmp_path / "out")
    assert listing(tmp_path) == ["bad.tar"]


@pytest.mark.parametrize(
    ("name", "data", "mode", "says"),
    [
        ("../evil", b"x", 0o644, "leads out of the archive"),
        ("/q8a8-evil", b"x", 0o644, "has an absolute path"),
        ("C:\\evil", b"x", 0o644, "absolute path|not portable"),
        ("..\\evil", b"x", 0o644, "not portable"),
        ("evil\0.txt", b"x", 0o644, "not portable"),
        ("l", b"/etc/passwd", stat.S_IFLNK | 0o777, "is a link that leads out"),
        ("d/l", b"../../evil", stat.S_IFLNK | 0o777, "is a link that leads out"),
        ("l", b"a\0b", stat.S_IFLNK | 0o777, "not portable"),
        ("l", b"x" * 5000, stat.S_IFLNK | 0o777, "is a link to a path of 5000 bytes"),
        ("pipe", b"", stat.S_IFIFO | 0o644, "is a special file"),
        ("dev", b"", stat.S_IFCHR | 0o644, "is a special file"),
        ("", b"x", 0o644, "has no name"),
        ("good", b"second", 0o644, "comes twice"),
        ("good/evil", b"x", 0o644, "lies below a file or a link"),
    ],
)
def test_hostile_zip(tmp_path: Path, name: str, data: bytes, mode: int, says: str) -> None:
    place = zipped(tmp_path / "bad.zip", ("good", b"first", 0o644), (name, data, mode))
    with pytest.raises(SourceError, match=f"bad.zip: member .*({says}).*; nothing was unpacked"):
        archive.unpack(place, everything, tmp_path / "in" / "out")
    assert listing(tmp_path) == ["bad.zip"]


def test_a_link_may_not_lead_out_of_the_part_that_is_wanted(tmp_path: Path) -> None:
    members = (entry("top/vendor/l", tarfile.SYMTYPE, "../secret"), (entry("top/secret"), b"x"))
    place = tar(tmp_path / "a.tar.gz", *members)

    def vendored(name: PurePosixPath) -> PurePosixPath | None:
        top = PurePosixPath("top/vendor")
        return name.relative_to(top) if name.is_relative_to(top) and name != top else None

    with pytest.raises(SourceError, match="member 'top/vendor/l' is a link that leads out"):
        archive.unpack(place, vendored, tmp_path / "out")
    assert archive.unpack(place, everything, tmp_path / "all") == 2
    assert (tmp_path / "all/top/vendor/l").read_bytes() == b"x"


def test_nothing_is_written_through_a_link_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"before")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good").symlink_to("../outside")
    with pytest.raises(SourceError, match="member 'good' can't be unpacked"):
        archive.unpack(tar(tmp_path / "a.tar", GOOD), everything, tmp_path / "out")
    assert (tmp_path / "outside").read_bytes() == b"before"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_cut_off(tmp_path: Path, share: float) -> None:
    data = random.Random(1).randbytes(300_000)  # noqa: S311 - anything that doesn't compress
    whole = tar(tmp_path / "a.tar.gz", (entry("one"), data), (entry("two"), data)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SourceError, match=r"cut\.tar\.gz"):
        archive.unpack(tmp_path / "cut.tar.gz", everything, tmp_path / "out")
    assert not (tmp_path / "out" / "two").exists() or (tmp_path / "out" / "two").stat().st_size < len(data)


def test_a_tar_that_ends_in_a_member(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", (entry("one"), b"x" * 5000), mode="w").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:3000])
    with pytest.raises(SourceError, match=r"cut\.tar.*'one'|cut\.tar: can't be read"):
        archive.unpack(tmp_path / "cut.tar", everything, tmp_path / "out")


@pytest.mark.parametrize(
    "data", [b"", b"not an archive", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh9"]
)
def test_no_archive_at_all(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tar\.gz: can't be read as an archive"):
        archive.names(tmp_path / "a.tar.gz")
    with pytest.raises(SourceError, match=r"missing\.zip: can't be read as an archive"):
        archive.names(tmp_path / "missing.zip")
    with pytest.raises(SourceError, match="can't be read as an archive"):
        archive.names(tmp_path)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "MAX_MEMBERS", 3)
    members = [(entry(f"m{number}"), b"x") for number in range(4)]
    assert archive.unpack(tar(tmp_path / "three.tar", *members[:3]), everything, tmp_path / "three") == 3
    for place in (
        tar(tmp_path / "a.tar", *members),
        zipped(tmp_path / "a.zip", *[(f"m{n}", b"", 0) for n in range(4)]),
    ):
        with pytest.raises(SourceError, match="member 'm3' is one more than the 3"):
            archive.unpack(place, everything, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "MAX_BYTES", 1000)
    for place in (
        tar(tmp_path / "a.tar.gz", (entry("one"), b"0" * 600), (entry("two"), b"0" * 600)),
        zipped(tmp_path / "a.zip", ("one", b"0" * 600, 0), ("two", b"0" * 600, 0)),
    ):
        with pytest.raises(
            SourceError, match=r"member 'two' brings the size above .* MB; nothing was unpacked"
        ):
            archive.unpack(place, everything, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_data_of_a_bomb_is_not_even_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "MAX_BYTES", 1000)
    info = entry("bomb")
    info.size = 1 << 40  # claimed: reading on to the next member would have to unpack it all
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + b"0" * 2048))
    with pytest.raises(SourceError, match="member 'bomb' brings the size above"):
        archive.names(tmp_path / "a.tar.gz")


def test_a_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    place = zipped(tmp_path / "a.zip", ("one", b"0" * 5000, 0))
    raw = place.read_bytes()
    claimed = raw.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert claimed != raw
    place.write_bytes(claimed)
    with pytest.raises(SourceError, match="member 'one'"):
        archive.unpack(place, everything, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 10


def test_an_encrypted_zip(tmp_path: Path) -> None:
    place = zipped(tmp_path / "a.zip", ("one", b"data", 0))
    raw = bytearray(place.read_bytes())
    raw[6] |= 1  # the local header's flag
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the directory's
    place.write_bytes(raw)
    with pytest.raises(SourceError, match=r"member 'one' can't be unpacked .*encrypted"):
        archive.unpack(place, everything, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_damage_anywhere_is_one_error(tmp_path: Path, kind: str) -> None:
    """Bytes turned at random: the archive unpacks inside the folder, or is refused, and nothing else."""
    chance = random.Random(kind)  # noqa: S311 - the same damage in every run
    members = [(entry(f"d/{number}"), chance.randbytes(700)) for number in range(5)]
    if kind == "zip":
        whole = zipped(tmp_path / "good", *[(info.name, data, 0o644) for info, data in members]).read_bytes()
    else:
        whole = tar(tmp_path / "good", *members, mode="w:" + kind.removeprefix("tar").strip(".")).read_bytes()
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "bad").write_bytes(damaged)
        try:
            archive.unpack(tmp_path / "bad", everything, tmp_path / "out" / str(number))
        except SourceError:
            refused += 1
    assert refused > 0
    assert {path.name for path in tmp_path.iterdir()} <= {"good", "bad", "out"}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip"])
def test_good_archives(tmp_path: Path, suffix: str) -> None:
    place = tmp_path / f"good{suffix}"
    if suffix == ".zip":
        zipped(
            place,
            ("top/", b"", stat.S_IFDIR | 0o755),
            ("top/text", b"text\r\n", stat.S_IFREG | 0o600),
            ("top/run", b"#!/bin/sh\n", stat.S_IFREG | 0o6755),
            ("top/d/link", b"../text", stat.S_IFLNK | 0o777),
            ("plain", b"", 0),
        )
    else:
        tar(
            place,
            entry("./", tarfile.DIRTYPE),
            entry("top", tarfile.DIRTYPE, mode=0),
            (entry("top/text", mode=0o000), b"text\r\n"),
            (entry("top/run", mode=0o6755), b"#!/bin/sh\n"),
            entry("top/d/link", tarfile.SYMTYPE, "../text"),
            (entry("plain"), b""),
            mode="w:" + suffix.removeprefix(".tar").strip("."),
        )
    out = tmp_path / "out"
    assert archive.unpack(place, everything, out) == 4
    assert listing(out) == ["plain", "top", "top/d", "top/d/link", "top/run", "top/text"]
    assert (out / "top/text").read_bytes() == b"text\r\n"
    assert (out / "plain").read_bytes() == b""
    assert (out / "top/d/link").is_symlink()
    assert (out / "top/d/link").read_bytes() == b"text\r\n"
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in ("top/text", "top/run", "plain")}
    assert modes == {"top/text": 0o644, "top/run": 0o755, "plain": 0o644}  # no setuid, no setgid


def test_only_what_is_wanted_where_it_is_wanted(tmp_path: Path) -> None:
    place = tar(tmp_path / "a.tar", (entry("x/keep"), b"1"), (entry("x/leave"), b"2"))
    count = archive.unpack(
        place, lambda name: PurePosixPath("new/name") if name.name == "keep" else None, tmp_path / "out"
    )
    assert count == 1
    assert listing(tmp_path / "out") == ["new", "new/name"]
    assert archive.names(place) == ["x/keep", "x/leave"]
