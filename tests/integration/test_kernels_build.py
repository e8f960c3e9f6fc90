"""The kernels in a real build: loaded as a plugin, under sanitizers, with every way to load a model."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kernels_alone.loading import load
from patcher.base.machine import cpu_flags
from tests.integration.conftest import Work, environment
from tests.integration.test_kernels import HERE, native
from tests.programs import need

pytestmark = [pytest.mark.network, pytest.mark.compiler, pytest.mark.llama, pytest.mark.slow]

SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def backend_test(work: Work, out: Path, *flags: str, libraries: Path) -> Path:
    """The test of the buffer type, linked with ggml's libraries; backends are loaded from its own folder."""
    command = [native(), "-std=c++17", "-O2", *flags, str(HERE / "test_q8_a8_backend.cpp")]
    command += ["-I", str(work.tree / "ggml/include"), "-L", str(libraries), f"-Wl,-rpath,{libraries}"]
    done = subprocess.run([*command, "-lggml", "-lggml-base", "-o", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def passes(program: Path, **values: str) -> None:
    done = subprocess.run(
        [str(program), "3"], capture_output=True, text=True, env=environment(**values), cwd=program.parent
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"CPU_Q8_A8: \d+ shapes\n", done.stdout)


def ours_again(work: Work, folder: Path, **flags: list[str]) -> dict[str, Path]:
    """Our two files compiled again as the build compiled them, each with ``flags`` of its own: name -> object."""
    objects = {}
    for entry in json.loads((work.bin.parent / "compile_commands.json").read_text(encoding="utf-8")):
        if "/q8-a8/" in entry["file"]:
            name = Path(entry["file"]).stem
            command = shlex.split(entry["command"])
            objects[name] = folder / f"{name}.o"
            command[command.index("-o") + 1] = str(objects[name])
            command += flags.get(name.replace("-", "_"), [])
            done = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(objects) == ["kernels", "q8-a8"]
    return objects


def relinked(work: Work, folder: Path, instead: dict[str, Path], *flags: str) -> Path:
    """The folder of a CPU backend with other objects than the build's: name of the build's -> ours."""
    objects = sorted((work.bin.parent / "ggml/src/CMakeFiles/ggml-cpu.dir").rglob("*.o"))
    assert {path.name for path in objects} >= set(instead)
    chosen = [str(instead.get(path.name, path)) for path in objects]
    link = [native(), "-shared", *flags, "-fopenmp", *chosen, "-o", str(folder / "libggml-cpu.so.0")]
    link += ["-Wl,-soname,libggml-cpu.so.0", "-L", str(work.bin), "-lggml-base"]
    subprocess.run(link, check=True)
    return folder


def linked_again(work: Work, folder: Path, ours: dict[str, Path], *flags: str) -> Path:
    """The same with our two files' objects."""
    return relinked(work, folder, {f"{name}.cpp.o": path for name, path in ours.items()}, *flags)


def test_the_buffer_type_under_sanitizers(work: Work, tmp_path: Path) -> None:
    ours = ours_again(work, tmp_path, kernels=SANITIZED, q8_a8=SANITIZED)
    linked_again(work, tmp_path, ours, *SANITIZED)
    program = backend_test(work, tmp_path / "test", *SANITIZED, libraries=work.bin)
    # what libgomp and ggml keep to the end is theirs
    passes(program, LD_LIBRARY_PATH=str(tmp_path), ASAN_OPTIONS="detect_leaks=0")


def test_files_compiled_for_different_machines_are_not_run_together(work: Work, tmp_path: Path) -> None:
    if "avx2" not in cpu_flags():
        pytest.skip("needs a CPU with AVX2")
    linked_again(work, tmp_path, ours_again(work, tmp_path, q8_a8=["-mno-avx2"]))
    program = backend_test(work, tmp_path / "test", libraries=work.bin)
    done = subprocess.run(
        [program], capture_output=True, text=True, env=environment(LD_LIBRARY_PATH=str(tmp_path))
    )
    assert done.returncode != 0
    assert "compiled for different machines" in done.stderr


def test_nothing_is_stolen_where_memory_is_not_uniform(work: Work, tmp_path: Path) -> None:
    """ggml says that there are several nodes: the pieces of each thread are its own, and all are computed."""
    said = tmp_path / "numa.cpp"
    said.write_text('extern "C" bool ggml_is_numa() { return true; }\n', encoding="utf-8")
    program = backend_test(work, tmp_path / "test", str(said), "-rdynamic", libraries=work.bin)
    done = subprocess.run([str(program), "3"], capture_output=True, text=True)
    # ggml says so where it can't bind a thread to nodes that aren't there
    others = [line for line in done.stderr.splitlines() if "pthread_setaffinity_np" not in line]
    assert (done.returncode, others) == (0, [])


def test_a_system_without_threads_and_exceptions_compiles_it(work: Work, tmp_path: Path) -> None:
    """WASI: nothing of std::thread is left in the object."""
    objects = ours_again(work, tmp_path, q8_a8=["-D__wasi__", "-fno-exceptions"])
    symbols = subprocess.run(["nm", "-C", str(objects["q8-a8"])], capture_output=True, text=True, check=True)
    assert "std::thread" not in symbols.stdout
    assert "ggml_backend_cpu_q8_a8_buffer_type" in symbols.stdout


def test_weights_of_q8_0_are_left_to_kleidiai(work: Work, tmp_path: Path) -> None:
    """Compiled as in a build with KleidiAI, which is asked at run time; a stand-in answers for it."""
    ours = ours_again(work, tmp_path, q8_a8=["-DGGML_USE_CPU_KLEIDIAI"])["q8-a8"]
    folders = [f"-I{work.tree / 'ggml' / name}" for name in ("include", "src", "src/ggml-cpu")]
    stub = tmp_path / "stub.o"
    compile_stub = [native(), "-std=c++17", "-fPIC", "-c", str(HERE / "kleidiai_stub.cpp"), "-o", str(stub)]
    subprocess.run([*compile_stub, *folders], check=True)
    both = tmp_path / "both.o"
    subprocess.run(["ld", "-r", str(ours), str(stub), "-o", str(both)], check=True)
    relinked(work, tmp_path, {"q8-a8.cpp.o": both})
    program = tmp_path / "test"
    command = [native(), "-std=c++17", str(HERE / "test_kleidiai.cpp"), folders[0], "-o", str(program)]
    subprocess.run([*command, "-L", str(work.bin), "-lggml", "-lggml-base"], check=True)

    def taken(libraries: str, kernels: str = "all") -> list[str]:
        values = environment(LD_LIBRARY_PATH=libraries, KLEIDIAI_STUB=kernels)
        done = subprocess.run([program], capture_output=True, text=True, check=True, env=values)
        return done.stdout.splitlines()

    everything = ["MUL_MAT", "GET_ROWS", "CONT", "MUL_MAT_ID"]
    all_of_both = [f"{number} {name}" for number in (0, 120) for name in everything]
    with_stub = f"{tmp_path}:{work.bin}"
    # a copy of all the weight is never KleidiAI's, nor is a product with experts; a file of ours has the number 120
    assert taken(with_stub) == ["0 CONT", "0 MUL_MAT_ID", *all_of_both[4:]]
    assert taken(with_stub, "none") == all_of_both
    assert taken(str(work.bin)) == all_of_both


@pytest.mark.exhaustive  # fourteen backends are compiled for one that is looked at: minutes
def test_a_backend_for_each_kind_of_cpu(work: Work, tmp_path: Path) -> None:
    """GGML_CPU_ALL_VARIANTS and GGML_BACKEND_DL: the AVX2 backend, as a plugin that is found at run time."""
    if "avx2" not in cpu_flags():
        pytest.skip("needs a CPU with AVX2")
    need("cmake", "ninja")
    build = tmp_path / "build"
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O1", "-DCMAKE_C_FLAGS_RELEASE=-O1"]
    options += [
        "-DGGML_NATIVE=OFF",
        "-DGGML_BACKEND_DL=ON",
        "-DGGML_CPU_ALL_VARIANTS=ON",
        "-DGGML_CCACHE=OFF",
    ]
    options += [f"-DLLAMA_BUILD_{part}=OFF" for part in ("TOOLS", "TESTS", "EXAMPLES", "SERVER", "COMMON")]
    if shutil.which("ccache"):
        options += ["-DCMAKE_C_COMPILER_LAUNCHER=ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]
    configure = ["cmake", "-S", str(work.tree), "-B", str(build), "-G", "Ninja", *options]
    for command in (configure, ["cmake", "--build", str(build), "--target", "ggml", "ggml-cpu-haswell"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    plugin = build / "bin/libggml-cpu-haswell.so"
    symbols = subprocess.run(["nm", "-DC", str(plugin)], capture_output=True, text=True, check=True).stdout
    assert "ggml_backend_init" in symbols
    # the backend alone in the program's folder: what is computed is computed by it
    shutil.copy(plugin, tmp_path)
    program = backend_test(work, tmp_path / "test", libraries=build / "bin")
    quiet = {"GGML_LOG_LEVEL": "0"}
    done = subprocess.run(
        [str(program), "3"], capture_output=True, text=True, env=environment(**quiet), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^CPU_Q8_A8: \d+ shapes$", done.stdout, re.MULTILINE)
    assert "libggml-cpu-haswell.so" in done.stderr


def test_ways_to_load_a_model(work: Work, quantized: Callable[[str], Path], text: Path) -> None:
    """Packed weights give the same bits, however they came; without packing upstream's kernels compute."""
    model = quantized("Q8_A8")

    def perplexity(model: Path, *arguments: str) -> tuple[bool, float]:
        what: list[str | Path] = ["-m", model, "-f", text, "-c", "512", "--chunks", "1", "-t", "2", "-v"]
        said = work.run("llama-perplexity", *what, *arguments)
        value = re.search(r"Final estimate: PPL = (\d+\.\d+)", said)
        assert value is not None, said[-2000:]
        return "CPU_Q8_A8 model buffer size" in said, float(value[1])

    is_packed, wanted = perplexity(model, "-lm", "none")
    assert is_packed
    for mode in ("mmap", "mlock", "mmap+mlock"):
        assert perplexity(model, "-lm", mode) == (True, wanted)
    # Q8_0's quantizer makes the same bytes, so its kernels make the same text of them; ours round activations' scales
    # less, and this text is one that no model foresees
    plain = perplexity(model, "-lm", "mmap", "--no-repack")
    assert plain == perplexity(quantized("Q8_0"), "-lm", "mmap", "--no-repack")
    assert not plain[0]
    # a file of Q8_0 is packed, too, and its bytes are the same
    assert perplexity(quantized("Q8_0"), "-lm", "mmap") == (True, wanted)
    assert plain[1] == pytest.approx(wanted, rel=1e-2)


def test_memory_holds_the_model_once(work: Work, f16: Path, quantized: Callable[[str], Path]) -> None:
    """The process's own memory at its peak: the file's size, and what F16, which is read into place, takes besides."""
    model = quantized("Q8_A8")
    plain = load(work.bin, f16, mode="none")
    own = model.stat().st_size + plain.own_bytes - f16.stat().st_size
    resident = model.stat().st_size + plain.resident_bytes - f16.stat().st_size
    for mode in ("none", "mmap"):
        assert load(work.bin, model, mode=mode).own_bytes <= 1.03 * own
    assert load(work.bin, model, mode="none").resident_bytes <= 1.03 * resident


def test_mlock_locks_packed_weights(work: Work, quantized: Callable[[str], Path]) -> None:
    model = quantized("Q8_A8")
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() != 0 and limit != resource.RLIM_INFINITY and limit < 2 * model.stat().st_size:
        pytest.skip(f"this user may lock {limit} bytes of memory")
    assert load(work.bin, model, mode="mlock").locked_bytes > 0.9 * model.stat().st_size
