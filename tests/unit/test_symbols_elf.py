"""The ELF reader: every class, byte order and machine, and everything that a file can claim."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patcher.symbols import SearchOptions, check
from patcher.symbols.elf import UnreadableElfError, abi_of, is_elf, read
from patcher.symbols.elf.objects import Exports
from patcher.symbols.elf.table import Columns
from tests.elf_files import AARCH64, ARM, I386, MIPS, PPC64, RISCV, S390, X86_64, Elf

MACHINES = [
    (X86_64, 64, True), (I386, 32, True), (AARCH64, 64, True), (ARM, 32, True), (RISCV, 64, True),
    (PPC64, 64, True), (S390, 64, False), (MIPS, 32, False), (MIPS, 64, False),
]  # fmt: skip
SAMPLE = Elf(
    defines=["own", "old@V1", "old@@V2"],
    uses=["gone", "maybe?", "printf@GLIBC_2.2.5@libc.so.6"],
    needed=["libc.so.6", "libm.so.6"],
    soname="libsample.so.1",
    runpath="$ORIGIN:/opt/x",
)


@pytest.mark.parametrize(("machine", "bits", "little"), MACHINES)
@pytest.mark.parametrize("sections", [True, False])
def test_reads_every_machine(tmp_path: Path, machine: int, bits: int, little: bool, sections: bool) -> None:
    elf = Elf(
        SAMPLE.defines, SAMPLE.uses, SAMPLE.needed, SAMPLE.soname, runpath=SAMPLE.runpath,
        machine=machine, bits=bits, little=little, sections=sections,
    )  # fmt: skip
    path = elf.write(tmp_path / "libsample.so")
    item = read(path)
    assert (item.bits, item.little, item.machine) == (bits, little, machine)
    assert item.soname == "libsample.so.1"
    assert item.needed == ("libc.so.6", "libm.so.6")
    assert item.runpath == ("$ORIGIN", "/opt/x")
    assert {(one.name, one.weak, one.version, one.file) for one in item.references} == {
        ("gone", False, None, None),
        ("maybe", True, None, None),
        ("printf", False, "GLIBC_2.2.5", "libc.so.6"),
    }
    assert sorted(item.exports) == ["old", "own"]
    assert {(one.version, one.hidden) for one in item.exports.of("old")} == {("V1", True), ("V2", False)}
    assert item.exports.of("own")[0].version is None
    assert item.versions == {"V1", "V2"}
    assert abi_of(path) == item.abi


def test_counts_symbols_by_relocations_where_nothing_else_tells(tmp_path: Path) -> None:
    """No sections, no hash table: the highest symbol that a relocation names is the last one."""
    bare = Elf(uses=["one", "two"], sections=False, hash=False, extra_tags=[(7, 0), (8, 24)])
    rela = len(bare.data())
    bare.extra_tags = [(7, 0x1000 + rela), (8, 24)]
    grown = bytearray(bare.data()) + struct.pack("<QQq", 0, 2 << 32 | 6, 0)
    struct.pack_into("<Q", grown, 64 + 32, len(grown))  # the size in the file of the first segment
    (tmp_path / "x.so").write_bytes(grown)
    assert [one.name for one in read(tmp_path / "x.so").references] == ["one", "two"]


@pytest.mark.parametrize("length", [0, 3, 4, 16, 40, 63])
def test_a_file_that_ends_in_its_header(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short"
    path.write_bytes(SAMPLE.data()[:length])
    assert is_elf(path) == (length >= 4)
    with pytest.raises(UnreadableElfError, match="short: not a sound ELF file"):
        read(path)


def test_every_cut_is_read_or_refused(tmp_path: Path) -> None:
    data = SAMPLE.data()
    refused = 0
    for length in range(0, len(data), 7):
        path = tmp_path / "cut"
        path.write_bytes(data[:length])
        try:
            read(path).exports.of("own")
        except UnreadableElfError:
            refused += 1
    assert refused > len(data) // 7 * 0.8  # all but those that only lack section headers


@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=12))
def test_changed_bytes_never_escape(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE.data())
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path / "changed.so"
    path.write_bytes(data)
    try:
        item = read(path)
    except UnreadableElfError:
        return
    assert all(isinstance(one.name, str) for one in item.references)
    list(item.exports)
    report = check([tmp_path], options=SearchOptions(sysroot=tmp_path)) if item.type in (2, 3) else None
    assert report is None or report.objects == 1 or item.debug


def test_names_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no end"):
        Columns(struct.pack("<IBBHQQ", 1, 16, 0, 1, 1, 0), 64, True, b"\0abc")
    with pytest.raises(ValueError, match="has no end"):
        Columns(struct.pack("<IBBHQQ", 400, 16, 0, 1, 1, 0), 64, True, b"\0abc\0")


def test_names_that_share_their_ends_are_bounded() -> None:
    """100,000 symbols in one string of 1 MB claim 50 GB of names."""
    strings = b"\0" + b"a" * 1_000_000 + b"\0"
    raw = b"".join(struct.pack("<IBBHQQ", 1 + at * 10, 16, 0, 1, 1, 0) for at in range(100_000))
    start = time.perf_counter()
    with pytest.raises(ValueError, match="bytes together"):
        Columns(raw, 64, True, strings)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(("at", "form", "value"), [
    (32, "<Q", 1 << 62), (40, "<Q", (1 << 64) - 1), (56, "<H", 65535), (54, "<H", 0), (60, "<H", 65535),
])  # fmt: skip
def test_counts_and_offsets_beyond_belief(tmp_path: Path, at: int, form: str, value: int) -> None:
    data = bytearray(SAMPLE.data())
    struct.pack_into(form, data, at, value)
    path = tmp_path / "huge"
    path.write_bytes(data)
    tracemalloc.start()
    with contextlib.suppress(UnreadableElfError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_hash_table_that_claims_4_billion_symbols(tmp_path: Path) -> None:
    data = bytearray(Elf(uses=["x"], sections=False).data())
    at = data.index(struct.pack("<III", 1, 2, 0))
    struct.pack_into("<I", data, at + 4, 0xFFFFFFFF)
    (tmp_path / "lie").write_bytes(data)
    with pytest.raises(UnreadableElfError, match="4294967295 symbols in a file with room for"):
        read(tmp_path / "lie")


def test_a_zeroed_hash_table_hides_nothing_from_the_sections(tmp_path: Path) -> None:
    data = bytearray(Elf(uses=["x"]).data())
    at = data.index(struct.pack("<III", 1, 2, 0))
    data[at : at + 12] = bytes(12)
    (tmp_path / "zeroed").write_bytes(data)
    assert [one.name for one in read(tmp_path / "zeroed").references] == ["x"]


def test_more_libraries_than_there_can_be(tmp_path: Path) -> None:
    Elf(needed=["a.so"] * 5000).write(tmp_path / "many")
    with pytest.raises(UnreadableElfError, match="needs 5000 libraries"):
        read(tmp_path / "many")


def test_a_pipe_is_no_elf_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_elf(tmp_path / "pipe")
    with pytest.raises(UnreadableElfError, match="not a regular file"):
        read(tmp_path / "pipe")


def test_names_without_a_table_of_names(tmp_path: Path) -> None:
    """Not a file that needs nothing: a loader would look its names up at address 0."""
    path = SAMPLE.write(tmp_path / "x.so")
    data = path.read_bytes()
    end = next(  # DT_STRTAB, which DT_STRSZ follows here; the table of tags ends there now
        at for at in range(0, len(data) - 24, 8) if struct.unpack_from("<Q8xQ", data, at) == (5, 10)
    )
    path.write_bytes(data[:end] + bytes(8) + data[end + 8 :])
    with pytest.raises(UnreadableElfError, match="no table of names"):
        read(path)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    Elf(uses=[b"\xff\xfe".decode("utf-8", "surrogateescape")]).write(tmp_path / "odd")
    item = read(tmp_path / "odd")
    assert item.references[0].name.encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_a_segment_that_ends_behind_the_file(tmp_path: Path) -> None:
    """All tables are there; what is missing is code. The loader would die of it."""
    data = bytearray(Elf(uses=["x"], sections=False).data())
    struct.pack_into("<Q", data, 64 + 32, len(data) + 1)
    (tmp_path / "cut").write_bytes(data)
    with pytest.raises(UnreadableElfError, match="its segments end at byte"):
        read(tmp_path / "cut")


@pytest.mark.parametrize(("info", "other", "section", "value", "there"), [
    (0x12, 0, 1, 8, True), (0x22, 0, 1, 8, True), (0xA1, 0, 1, 8, True), (0x1A, 0, 1, 8, True), (0x12, 3, 1, 8, True),
    (0x02, 0, 1, 8, False), (0x12, 2, 1, 8, False), (0x12, 1, 1, 8, False), (0x13, 0, 1, 8, False),
    (0x12, 0, 0, 8, False), (0x12, 0, 1, 0, False), (0x16, 0, 1, 0, True), (0x10, 0, 0xFFF1, 0, True),
])  # fmt: skip
def test_what_counts_as_a_definition(info: int, other: int, section: int, value: int, there: bool) -> None:
    """Global, weak, unique, IFUNC, protected; not local, hidden, a section's, undefined, or 0."""
    raw = struct.pack("<IBBHQQ", 1, info, other, section, value, 0)
    exports = Exports(Columns(raw, 64, True, b"\0name\0"), None, {})
    assert ("name" in exports) == there
