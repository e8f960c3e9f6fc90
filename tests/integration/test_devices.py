"""A device meets Q8_0, whatever the file calls it: shown with a server of stock upstream's sources.

An RPC device says that it computes every operator, so it plays any GPU; and the stock server ends the connection
for a type number that it doesn't know, so that a run that gets to its end has sent none.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from patcher.model.gguf import TensorInfo, read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value
from tests.integration.conftest import NEWEST, Work, environment, stock_tree
from tests.integration.test_kernels import native

pytestmark = [pytest.mark.network, pytest.mark.compiler, pytest.mark.llama, pytest.mark.slow]
HERE = Path(__file__).parent / "devices"


def compiled(
    sources: list[Path], tree: Path, work: Work, place: Path, *flags: str, libraries: tuple[str, ...] = ("", "cpu", "base"),
) -> Path:  # fmt: skip
    """RPC's sources, with the headers of ``tree``, linked with what was built."""
    folders = ("ggml/src/ggml-rpc", "ggml/src", "ggml/include")
    command = [native(), "-std=c++17", "-O1", *map(str, sources), *flags, "-o", str(place)]
    command += ["-DGGML_SHARED", "-DGGML_BACKEND_SHARED", *(f"-I{tree / folder}" for folder in folders)]
    command += ["-L", str(work.bin), f"-Wl,-rpath,{work.bin}", "-pthread"]
    command += [f"-lggml-{name}" if name else "-lggml" for name in libraries]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return place


def sources(tree: Path) -> list[Path]:
    """Of the RPC backend, for this system."""
    folder = tree / "ggml/src/ggml-rpc"
    return [path for path in sorted(folder.glob("*.cpp")) if "apple" not in path.name]


@pytest.fixture(scope="session")
def server(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server whose RPC is that of a tree that nobody has touched: what it knows of types is upstream's. The
    kernels behind it are those that were built, which spares a build."""
    stock = stock_tree(NEWEST)
    place = tmp_path_factory.mktemp("server") / "server"
    return compiled([*sources(stock), HERE / "serve.cpp"], stock, work, place)


@pytest.fixture(scope="session")
def registry(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libggml that knows RPC, the patched tree's, for the programs that were built without: a build
    of its own would compile all of llama.cpp once more, because each of its files is told.
    """
    folder = tmp_path_factory.mktemp("registry")
    own = [work.tree / "ggml/src" / name for name in ("ggml-backend-reg.cpp", "ggml-backend-dl.cpp")]
    flags = [
        "-fPIC",
        "-shared",
        "-Wl,-soname,libggml.so.0",
        "-DGGML_BUILD",
        "-DGGML_USE_CPU",
        "-DGGML_USE_RPC",
    ]
    compiled(
        [*own, *sources(work.tree)],
        work.tree,
        work,
        folder / "libggml.so.0",
        *flags,
        libraries=("cpu", "base"),
    )
    return folder


@contextmanager
def served(server: Path) -> Iterator[str]:
    """A server that listens, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([str(server), f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Device:
    """llama-perplexity with a device behind a stock server."""

    def __init__(self, work: Work, server: Path, registry: Path, text: Path) -> None:
        self.work, self.server, self.text = work, server, text
        self.environment = environment(LD_LIBRARY_PATH=str(registry))

    def perplexity(self, model: Path, *arguments: str | Path) -> tuple[str, str]:
        """The estimate to its last digit, and all that was said."""
        with served(self.server) as address:
            command = [self.work.bin / "llama-perplexity", "--rpc", address, "-m", model, "-f", self.text]
            command += ["-c", "128", "-b", "128", "--chunks", "1", "-t", "2", "-v"]
            command += [str(word).replace("{address}", address) for word in arguments]
            words = [str(part) for part in command]
            done = subprocess.run(words, capture_output=True, text=True, timeout=600, env=self.environment)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        value = re.search(r"Final estimate: PPL = (\d+\.\d+)", said)
        assert value is not None, said[-3000:]
        return value[1], said


@pytest.fixture(scope="session")
def device(work: Work, server: Path, registry: Path, text: Path) -> Device:
    return Device(work, server, registry, text)


WAYS = {
    "all": ["-ngl", "99"],
    "some": ["-ngl", "10", "-fit", "off"],
    "cache": ["-ngl", "99", "-fa", "on", "-ctk", "{type}", "-ctv", "{type}"],
    "override": ["-ngl", "0", "-fit", "off", "-ot", r"ffn_(up|down)=RPC0[{address}]"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_device_computes_with_q8_0(way: str, device: Device, quantized: Callable[[str], Path]) -> None:
    """Equal to the last digit: the same operators were given to the same kernels with the same bytes."""
    found = {}
    for kind in ("Q8_0", "Q8_A8"):
        arguments = [word.replace("{type}", kind.lower()) for word in WAYS[way]]
        found[kind], said = device.perplexity(quantized(kind), *arguments)
        # the first are of -fit's dry run, which asks the device for sizes and allocates nothing
        held = re.findall(r"RPC0\S* model buffer size =\s+(\d+\.\d+) MiB", said)
        assert max(map(float, held), default=0) > 30, said[-3000:]
    assert found["Q8_A8"] == found["Q8_0"]


def adapter(place: Path, base: Path, kind: int) -> Path:
    """A LoRA adapter of rank 32 for the first layer's queries, in the type of that number."""
    model = read(base)
    wanted = next(tensor for tensor in model.tensors if tensor.name == "blk.0.attn_q.weight")
    inputs, outputs = wanted.dims
    rng = np.random.default_rng(1)
    shapes = {"lora_a": (inputs, 32), "lora_b": (32, outputs)}
    metadata = {
        "general.type": make_value(ValueType.STRING, "adapter"),
        "general.architecture": make_value(ValueType.STRING, model.text("general.architecture")),
        "adapter.type": make_value(ValueType.STRING, "lora"),
        "adapter.lora.alpha": make_value(ValueType.FLOAT32, 32.0),
    }
    tensors = [NewTensor(f"{wanted.name}.{end}", dims, kind) for end, dims in shapes.items()]
    with GgufWriter(place, metadata, tensors) as writer:
        for tensor in tensors:
            values = rng.normal(0, 0.05, (tensor.dims[1], tensor.dims[0] // 32, 32)).astype(np.float32)
            scales = np.abs(values).max(-1, keepdims=True) / 127
            blocks = np.concatenate(
                [scales.astype("<f2").view(np.int8), np.rint(values / scales).astype(np.int8)], axis=-1
            )
            writer.write(tensor.name, [blocks.tobytes()])
    return place


def test_an_adapter_goes_to_the_device_as_q8_0(
    device: Device, quantized: Callable[[str], Path], tmp_path: Path
) -> None:
    model = quantized("Q8_A8")
    plain, _ = device.perplexity(model, "-ngl", "99")
    found = {
        kind: device.perplexity(
            model, "-ngl", "99", "--lora", adapter(tmp_path / f"{kind}.gguf", model, kind)
        )[0]
        for kind in (8, 120)
    }
    assert found[8] == found[120] != plain


def test_a_saved_model_has_the_type_that_it_was_read_with(
    work: Work, quantized: Callable[[str], Path], tmp_path: Path
) -> None:
    program = tmp_path / "save"
    command = [native(), "-std=c++17", "-o", str(program), str(HERE / "save.cpp")]
    command += [f"-I{work.tree / folder}" for folder in ("include", "ggml/include")]
    command += ["-L", str(work.bin), "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{work.bin}"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:3000]
    for kind in ("Q8_A8", "Q8_0"):
        saved = tmp_path / f"{kind}.gguf"
        done = subprocess.run(
            [str(program), str(quantized(kind)), str(saved)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        before = {tensor.name: tensor for tensor in read(quantized(kind)).tensors}
        after = {tensor.name: tensor for tensor in read(saved).tensors}
        assert {name: tensor.type for name, tensor in after.items()} == {
            name: tensor.type for name, tensor in before.items()
        }
        for name in ("token_embd.weight", "blk.3.ffn_down.weight"):
            assert raw(saved, after[name]) == raw(quantized(kind), before[name])


def raw(path: Path, tensor: TensorInfo) -> bytes:
    """A tensor's bytes as the file has them."""
    with path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.nbytes)
