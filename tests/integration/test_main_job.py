"""The main job on real llama.cpp and a real model: run, quantize, measure, verify."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from patcher.base.errors import BuildError
from patcher.build import build
from patcher.build.configure import BuildRequest
from patcher.engine.tree_record import PLACE
from patcher.symbols.demangle import demangle
from patcher.symbols.instantiate import tidy
from tests.integration.conftest import NEWEST, Work, copy_of, environment, q8a8_patch, stock_tree

pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.compiler, pytest.mark.slow]

PPL = re.compile(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)")
# what llama-model.cpp asks the loader for by string key
CALLED = {
    "bool llama_model_loader::get_key<bool>(std::string const&, bool&, bool)",
    "bool llama_model_loader::get_key<float>(std::string const&, float&, bool)",
    "bool llama_model_loader::get_arr<float>(std::string const&, std::vector<float>&, bool)",
}


def test_run_builds_and_proves_that_it_links(each_work: Work) -> None:
    report = each_work.report
    assert report["checkout"]["release"] in ("v0.5.0", "b8390")
    assert report["apply"]["state"] == "applied"
    assert report["build"]["strict"] is True
    assert report["verify"]["objects"] >= 8
    assert not [found for found in report["verify"]["findings"] if found["severity"] == "error"]
    for name in ("llama-quantize", "llama-perplexity", "llama-bench"):
        assert (each_work.bin / name).is_file()
    again = q8a8_patch("verify-symbols", each_work.bin)
    assert again.returncode == 0
    assert "no undefined symbol" in again.stdout


def test_a_build_writes_nothing_into_the_tree(each_work: Work) -> None:
    status = q8a8_patch("status", each_work.tree, "--json")
    assert json.loads(status.stdout)["state"] == "applied"
    said = subprocess.run(
        ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"],
        cwd=each_work.tree, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    written = set(json.loads(q8a8_patch("diff", each_work.tree, "--json").stdout).get("files", []))
    new = {line[3:] for line in said.splitlines() if line[:2] in ("??", "!!")}
    ours = {PLACE, *(edit["file"] for edit in json.loads(status.stdout)["edits"])}
    assert new <= written | ours


def test_each_release_quantizes_and_reads_the_type(
    each_work: Work, f16: Path, text: Path, tmp_path: Path
) -> None:
    place = tmp_path / "q8_a8.gguf"
    each_work.run("llama-quantize", f16, place, "Q8_A8")
    said = each_work.run(
        "llama-perplexity", "-m", place, "-f", text, "--chunks", "4", "-c", "512", "--verbose"
    )
    plain = each_work.run("llama-perplexity", "-m", f16, "-f", text, "--chunks", "4", "-c", "512")
    assert "Q8_A8" in said  # the loader names the file type
    quantized, baseline = (float(PPL.findall(out)[-1][0]) for out in (said, plain))
    assert abs(quantized / baseline - 1) < 0.02


def test_quantizing_twice_gives_the_same_bytes(work: Work, f16: Path, tmp_path: Path) -> None:
    digests = set()
    for threads in ("1", "2"):
        place = tmp_path / f"{threads}.gguf"
        work.run("llama-quantize", f16, place, "Q8_A8", threads)
        digests.add(hashlib.sha256(place.read_bytes()).hexdigest())
    assert len(digests) == 1


def in_tree(work: Work, script: str, *arguments: str | Path) -> str:
    """Run Python with the patched gguf-py on its path."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env=environment(PYTHONPATH=str(work.tree / "gguf-py")), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tensors_take_53_percent_of_f16(work: Work, f16: Path, quantized: Callable[[str], Path]) -> None:
    script = """
        import sys
        from gguf import GGUFReader
        for path in sys.argv[1:]:
            reader = GGUFReader(path)
            print(sum(int(tensor.n_bytes) for tensor in reader.tensors),
                  sum(tensor.tensor_type.name == "Q8_A8" for tensor in reader.tensors),
                  reader.fields["general.file_type"].parts[-1][0])
    """
    plain, ours = (line.split() for line in in_tree(work, script, f16, quantized("Q8_A8")).splitlines())
    assert int(ours[0]) / int(plain[0]) == pytest.approx(0.531, abs=0.005)
    assert int(ours[1]) > 200
    assert ours[2] == "120"


def test_gguf_py_and_c_agree_to_the_bit(work: Work) -> None:
    script = """
        import ctypes, sys
        import numpy as np
        import gguf
        from gguf.constants import GGMLQuantizationType
        lib = ctypes.CDLL(sys.argv[1])
        floats = ctypes.POINTER(ctypes.c_float)
        lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        lib.ggml_quantize_chunk.argtypes = (
            ctypes.c_int, floats, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, floats)
        lib.dequantize_row_q8_a8.argtypes = (ctypes.c_void_p, floats, ctypes.c_int64)
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(400, 256)).astype(np.float32)
        rows *= 10.0 ** rng.integers(-12, 6, size=(400, 1)).astype(np.float32)
        rows[0] = 0
        rows[1] = np.repeat(np.float32(0.5) * np.arange(8, dtype=np.float32), 32)
        rows[2, ::2] = -rows[2, ::2]
        rows[3] = np.arange(256, dtype=np.float32) - 127.5       # halves: how ties round
        rows[4, :32] = np.float32(1e-41)                         # denormal
        rows[5] = np.float32(127.0) * np.sign(rows[5])
        kind = GGMLQuantizationType.Q8_A8
        ours = gguf.quants.quantize(rows, kind)
        theirs = np.zeros_like(ours)
        made = lib.ggml_quantize_chunk(
            kind.value, rows.ctypes.data_as(floats), theirs.ctypes.data, 0, rows.shape[0], rows.shape[1], None)
        assert made == theirs.nbytes == 400 * 256 // 32 * 34, made
        bad = np.nonzero((ours != theirs).any(axis=1))[0]
        assert not bad.size, ("quantize", bad[:5])
        back = gguf.quants.dequantize(theirs, kind)
        out = np.zeros(rows.size, dtype=np.float32)
        lib.dequantize_row_q8_a8(theirs.ctypes.data, out.ctypes.data_as(floats), out.size)
        assert (back.ravel().view(np.uint32) == out.view(np.uint32)).all(), "dequantize"
        print("same", np.abs(back - rows).max() >= 0)
    """
    assert in_tree(work, script, work.bin / "libggml-base.so") == "same True\n"


def test_upstreams_own_tests_pass_with_the_type_in_them(each_work: Work) -> None:
    said = each_work.run("test-quantize-fns", "-v")
    assert "q8_a8" in said
    said = each_work.run("test-backend-ops", "test", "-b", "CPU", "-p", "q8_a8")
    counted = re.search(r"(\d+)/(\d+) tests passed", said)
    assert counted is not None
    assert counted[1] == counted[2]
    assert int(counted[1]) > 50


def test_smoothquant_metadata_is_read_and_logged(
    work: Work, quantized: Callable[[str], Path], text: Path
) -> None:
    said = work.run(
        "llama-perplexity", "-m", quantized("Q8_A8"), "-f", text, "--chunks", "1", "-c", "512", "--verbose",
        "--override-kv", "smoothquant.enabled=bool:true", "--override-kv", "smoothquant.alpha=float:0.625",
    )  # fmt: skip
    logged = [line for line in said.splitlines() if "smoothquant" in line.lower()]
    assert any("0.625" in line for line in logged), logged


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest release with the type, but none of the instantiations that it needs."""
    tree = copy_of(stock_tree(NEWEST), tmp_path_factory.mktemp("without") / "llama.cpp")
    done = q8a8_patch(
        "apply", tree, "--without", "get-key-instantiations", "--without", "get-arr-instantiations"
    )
    assert done.returncode == 0, done.stderr
    return tree


def lacking(build_dir: Path) -> set[str]:
    """Of what is called, what the loader's object file doesn't define.

    An optimizer may emit an instance that nobody asked for (here a weak get_key<float>, for a caller in the
    same file), so what is undefined is for the object file to say, not for us.
    """
    (place,) = build_dir.glob("src/CMakeFiles/llama.dir/llama-model-loader.cpp.o")
    with place.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        defined = {tidy(demangle(one.name)) for one in table.iter_symbols() if one["st_shndx"] != "SHN_UNDEF"}
    return CALLED - defined


def test_without_the_instantiations_the_strict_link_names_them(without: Path) -> None:
    request = BuildRequest(without, without.parent / "strict", ("llama",))
    with pytest.raises(BuildError) as caught:
        build(request)
    diagnosis = caught.value.diagnosis  # type: ignore[attr-defined]
    assert diagnosis.step == "link"
    assert set(diagnosis.symbols) == lacking(without.parent / "strict")
    assert len(diagnosis.symbols) >= 2
    assert "template bool llama_model_loader::get_key<" in str(caught.value)
    assert str(without.parent / "strict") in str(caught.value)


def test_without_the_instantiations_verify_symbols_names_them(without: Path) -> None:
    place = without.parent / "loose"
    done = q8a8_patch(
        "build", without, "--build-dir", place, "--allow-shlib-undefined", "--target", "llama", "--json"
    )
    assert done.returncode == 1, done.stderr  # the linker let it pass, the proof behind the build doesn't
    assert "warning: --allow-shlib-undefined" in done.stderr
    found = q8a8_patch("verify-symbols", place / "bin", "--json")
    assert found.returncode == 1
    errors = [one for one in json.loads(found.stdout)["findings"] if one["severity"] == "error"]
    assert {one["rule"] for one in errors} == {"undefined-symbol"}
    assert {one["demangled"] for one in errors} == lacking(place)
    assert {Path(one["object"]).name.split(".so")[0] for one in errors} == {"libllama"}
    assert all("template bool llama_model_loader::" in one["suggestion"] for one in errors)
