"""Which types the tensors of a quantized model have, beside what was asked for, and why some differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from patcher.model.gguf_format import TENSOR_TYPES, TYPE_NUMBERS
from patcher.model.gguf_header import Header, Tensor

FLOATS = ("F32", "F16", "BF16")
# embeddings, and an output matrix, are given a type of their own by many file types and two options
APART = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
BY_NAME = ("--tensor-type", "--tensor-type-file")
OPTIONS = {"token_embd.weight": "--token-embedding-type", "output.weight": "--output-tensor-type"}
_LEAST_SHARE = 0.5  # of the layers' weights, that must have become what was asked for


@dataclass(frozen=True)
class Fallback:
    """Matrices that did not become what was asked for: their type, how many, and why."""

    type: str
    tensors: tuple[str, ...]
    reason: str

    def text(self, of: int) -> str:
        """One line for people; ``of`` is how many matrices the model has."""
        count = len(self.tensors)
        return f"{count} of {of} matrices {'is' if count == 1 else 'are'} {self.type}: {self.reason}"


def is_quantized(held: str) -> bool:
    """Whether weights of ``held`` have been rounded already: those of IQ4_NL are, I32 are no weights."""
    return held not in FLOATS and re.fullmatch(r"I\d+", held) is None


def belongs(held: str, name: str) -> bool:
    """Whether tensors of ``held`` are what type ``name`` is made of: Q4_K_M is Q4_K with some Q6_K."""
    if held == name or name == "COPY":
        return True
    if re.fullmatch(r"I?Q\d_(?:K|X+S|X?S|M|NL)(?:_\w+)?", name):
        return held not in FLOATS
    return name.startswith(held)


def matrices(header: Header) -> list[Tensor]:
    """What a quantization is about: not vectors, whatever their type."""
    return [tensor for tensor in header.tensors if len(tensor.shape) > 1]


def complaint(after: Header, name: str, arguments: Sequence[str]) -> str:
    """Why the model isn't what was asked for; empty where it is.

    Most of the layers' weights that could become it must have; those that an option names are its affair.
    """
    if any(option in BY_NAME for option in arguments):
        return ""
    found = [tensor for tensor in matrices(after) if tensor.name not in APART and _can(tensor, name)]
    named = {tensor for tensor, option in OPTIONS.items() if option in arguments}
    found = found or [tensor for tensor in matrices(after) if tensor.name not in named and _can(tensor, name)]
    whole = sum(tensor.weights for tensor in found)
    right = sum(tensor.weights for tensor in found if belongs(tensor.type, name))
    if right >= _LEAST_SHARE * whole:
        return ""
    share: dict[str, int] = {}
    for tensor in found:
        share[tensor.type] = share.get(tensor.type, 0) + tensor.weights
    shares = ", ".join(f"{held} {count}" for held, count in sorted(share.items(), key=lambda item: -item[1]))
    return f"was asked for {name}, the weights are {shares}"


def kept(after: Header, name: str, arguments: Sequence[str]) -> tuple[Fallback, ...]:
    """The matrices that are of another type than ``name``, by type and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for tensor in matrices(after):
        if not belongs(tensor.type, name):
            found.setdefault((tensor.type, _reason(tensor, name, arguments)), []).append(tensor.name)
    return tuple(Fallback(held, tuple(names), reason) for (held, reason), names in found.items())


def _reason(tensor: Tensor, name: str, arguments: Sequence[str]) -> str:
    option = OPTIONS.get(tensor.name)
    if option in arguments:
        return f"{option} asks for it"
    if any(one in arguments for one in BY_NAME):
        return "--tensor-type or llama-quantize's own rules ask for it"
    if not _can(tensor, name):
        return f"rows of {tensor.shape[0]} are no multiple of {_block(name)}"
    if tensor.type in FLOATS:
        return "llama-quantize leaves such tensors alone (routers, positions, convolutions)"
    return f"llama-quantize's {name} has it for such tensors"


def _can(tensor: Tensor, name: str) -> bool:
    return not tensor.shape[0] % _block(name)


def _block(name: str) -> int:
    """Weights of a block of the type that ``name`` is mostly made of; 1 where nobody here knows."""
    word = name
    while word:
        if word in TYPE_NUMBERS:
            return TENSOR_TYPES[TYPE_NUMBERS[word]][1]
        word = word.rpartition("_")[0]
    return 1


def expected_bytes(before: Header, name: str, arguments: Sequence[str]) -> int:
    """About how large the model becomes, on the short side; 0 where the type's size isn't known here."""
    word = name
    while word and word not in TYPE_NUMBERS:
        word = word.rpartition("_")[0]
    if not word:
        return 0
    _, block, size = TENSOR_TYPES[TYPE_NUMBERS[word]]
    apart = {tensor for tensor, option in OPTIONS.items() if option in arguments}
    total = before.size - before.tensor_bytes
    for tensor in before.tensors:
        becomes = len(tensor.shape) > 1 and _can(tensor, name) and tensor.name not in apart
        total += (
            tensor.weights // block * size if becomes else tensor.bytes if tensor.name not in apart else 0
        )
    return total
