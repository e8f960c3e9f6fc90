"""What a quantized model must be like: the model it was made of, tensor by tensor, told by its data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from patcher.evaluate.measure.models import Factory
from patcher.evaluate.measure.variant import Variant
from patcher.model import gguf_header
from patcher.model.dequantize import block_of, dequantized, is_readable
from patcher.model.gguf_format import TENSOR_TYPES, TYPE_NUMBERS
from patcher.model.gguf_writer import GgufWriter, NewTensor
from patcher.model.likeness import UnlikeError, compare
from patcher.model.model_file import open_model
from patcher.programs.folder import Programs
from patcher.programs.quantized_types import complaint
from tests.tiny_models import VARIANTS, architecture_of, write_gguf, write_model
from tests.unit.test_model_refine import quantized

RNG = np.random.default_rng(3)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and the same in Q8_A8."""
    source = write_model(tmp_path / "m.gguf", "llama", kind="F16")
    return source, quantized(source, tmp_path / "q.gguf")


def compared(pair: tuple[Path, Path]) -> int:
    return compare(open_model(pair[0]), open_model(pair[1])).tensors


def test_the_same_model_in_another_type(pair: tuple[Path, Path]) -> None:
    assert compared(pair) == len(open_model(pair[0]).tensors)
    assert compared((pair[0], pair[0])) == len(open_model(pair[0]).tensors)


@pytest.mark.parametrize("name", ["blk.1.ffn_down.weight", "output_norm.weight", "token_embd.weight"])
@pytest.mark.parametrize("damage", ["shifted", "zeros", "one block"])
def test_wrong_data_are_found_and_named(pair: tuple[Path, Path], name: str, damage: str) -> None:
    info = open_model(pair[1]).tensors[name]
    data = bytearray(pair[1].read_bytes())
    own = data[info.offset : info.offset + info.nbytes]
    if damage == "shifted":  # as behind a wrong padding
        own = own[24:] + own[:24]
    elif damage == "zeros":
        own = bytearray(len(own))
    else:
        own[34:68] = bytes(34)
    data[info.offset : info.offset + info.nbytes] = own
    pair[1].write_bytes(data)
    with pytest.raises(UnlikeError, match=rf"tensor '{name}' \({info.type_name}\) is wrong from weight \d+"):
        compared(pair)


def test_a_scale_that_is_off_is_found(pair: tuple[Path, Path]) -> None:
    info = open_model(pair[1]).tensors["blk.0.attn_q.weight"]
    data = bytearray(pair[1].read_bytes())
    scale = np.frombuffer(bytes(data[info.offset : info.offset + 2]), np.float16)[0]
    data[info.offset : info.offset + 2] = np.float16(scale * np.float16(1.02)).tobytes()
    pair[1].write_bytes(data)
    with pytest.raises(UnlikeError, match="further off than Q8_A8 rounds"):
        compared(pair)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_of_each_architecture_is_quantized_compared_and_described(
    variant: str, tmp_path: Path
) -> None:
    """What ``quantize`` ends with, and ``evaluate`` begins with."""
    source = write_model(tmp_path / "m.gguf", variant, kind="F16")
    made = quantized(source, tmp_path / "q.gguf")
    assert compared((source, made)) == len(open_model(source).tensors)
    assert complaint(gguf_header.read(made), "Q8_A8", ()) == ""
    factory = Factory(source, Programs(tmp_path), tmp_path / "models", calibration=None)
    assert factory.make(Variant("F16", "F16")).header.architecture == architecture_of(variant)
    assert factory.make(Variant("mine", "mine", file=made)).header.weights_by_type()["Q8_A8"] > 0
    info = max(open_model(made).tensors.values(), key=lambda tensor: tensor.nbytes)
    data = bytearray(made.read_bytes())
    data[info.offset : info.offset + info.nbytes] = bytes(info.nbytes)
    made.write_bytes(data)
    with pytest.raises(UnlikeError, match=re.escape(f"tensor '{info.name}'")):
        compared((source, made))


def test_what_a_type_can_t_hold_is_said_so(tmp_path: Path) -> None:
    large = np.ones((4, 64), np.float32)
    large[2, 5] = 1e5
    before = write_gguf(tmp_path / "a.gguf", {}, {"w": (large, "BF16")})
    after = write_gguf(tmp_path / "b.gguf", {}, {"w": (np.minimum(large, 6e4), "F16")})
    info = open_model(after).tensors["w"]
    data = bytearray(after.read_bytes())
    at = info.offset + 2 * (2 * 64 + 5)
    data[at : at + 2] = b"\x00\x7c"  # infinity
    after.write_bytes(data)
    with pytest.raises(
        UnlikeError, match=r"tensor 'w' holds 99840, which is too large for F16; use BF16 or F32"
    ):
        compared((before, after))


def test_large_tensors_are_looked_at_all_over(tmp_path: Path) -> None:
    values = RNG.normal(size=(1200, 1024)).astype(np.float32)
    before = write_gguf(tmp_path / "a.gguf", {}, {"w": (values, "F16")})
    after = quantized(before, tmp_path / "b.gguf")
    assert compared((before, after)) == 1
    data = bytearray(after.read_bytes())
    info = open_model(after).tensors["w"]
    third = info.nbytes // 3 // 34 * 34
    data[info.offset + third : info.offset + 2 * third] = bytes(third)  # a part that was never written
    after.write_bytes(data)
    with pytest.raises(UnlikeError, match="tensor 'w'"):
        compared((before, after))


@pytest.mark.parametrize("name", [name for name, _, _ in TENSOR_TYPES.values() if is_readable(name)])
def test_blocks_of_every_type_keep_their_length(name: str) -> None:
    weights, size = block_of(name)
    made = dequantized(np.zeros((3, size), np.uint8), name)
    assert made.shape == (3, weights)
    assert np.abs(made).max() < 1e-30  # a scale of nothing


def test_blocks_of_few_bits_are_read() -> None:
    """Blocks written by hand; the build's own library is asked in the integration tests."""
    two = np.frombuffer(np.float16(2).tobytes(), np.uint8)
    one_bit = dequantized(np.concatenate([two, np.array([0b101] + [0] * 15, np.uint8)])[None], "Q1_0")
    assert one_bit[0, :4].tolist() == [2, -2, 2, -2]
    two_bits = dequantized(np.concatenate([two, np.array([0b11100100] + [0] * 15, np.uint8)])[None], "Q2_0")
    assert two_bits[0, :5].tolist() == [-2, 0, 2, 4, -2]
    digits = (2, 0, 1, 2, 1)  # in base 3, most significant first
    number = sum(digit * 3 ** (4 - place) for place, digit in enumerate(digits))
    ternary = np.zeros(54, np.uint8)
    ternary[0], ternary[48], ternary[52:] = -(-number * 256 // 243), -(-number * 256 // 243), two
    found = dequantized(ternary[None], "TQ1_0")[0]
    assert found[[0, 32, 64, 96, 128]].tolist() == [2 * (digit - 1) for digit in digits]
    assert found[[240, 244, 248, 252]].tolist() == [2 * (digit - 1) for digit in digits[:4]]
    nvfp4 = np.zeros(36, np.uint8)
    nvfp4[0], nvfp4[1], nvfp4[2], nvfp4[4], nvfp4[12], nvfp4[20] = 7 << 3, 4, 127, 0xF2, 0xF2, 0xF2
    found = dequantized(nvfp4[None], "NVFP4")[0]
    assert found[[0, 8, 16, 24, 32]].tolist() == [1, -6, 2 * 4 * 2.0**-10, -12 * 4 * 2.0**-10, 0]


def test_other_models_blocks_are_told_by_their_energy(tmp_path: Path) -> None:
    """Types that don't round each weight to nearest: right blocks pass, another tensor's don't."""
    source = RNG.normal(size=(16, 32)).astype(np.float32)
    before = write_gguf(tmp_path / "a.gguf", {}, {"w": (source, "F32")})
    scale = source.max(1, keepdims=True) * 0 + np.abs(source).max(1, keepdims=True) / 7
    quants = np.clip(np.rint(source / scale) + 8, 0, 15).astype(np.uint8)
    blocks = np.concatenate(
        [scale.astype(np.float16).view(np.uint8), quants[:, :16] | (quants[:, 16:] << 4)], axis=1
    )
    for name, rows, right in (("b.gguf", blocks, True), ("c.gguf", np.roll(blocks, 1, 0), False)):
        path = tmp_path / name
        with GgufWriter(path, {}, [NewTensor("w", (32, 16), TYPE_NUMBERS["Q4_0"])]) as writer:
            writer.write("w", [rows.tobytes()])
        if right:
            assert compared((before, path)) == 1
        else:
            with pytest.raises(UnlikeError, match="its data are not those of the model"):
                compared((before, path))
