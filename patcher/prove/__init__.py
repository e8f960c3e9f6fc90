"""Does a type that was put into a tree compute what the tree that it came from computes? Byte by byte.

Both trees' ``ggml-base`` and ``ggml-cpu`` are compiled, and one small program calls the type in each.
"""

from __future__ import annotations

from patcher.prove.proof import ArchitectureProof, Part, Proof
from patcher.prove.proving import ProveRequest, prove

__all__ = ["ArchitectureProof", "Part", "Proof", "ProveRequest", "prove"]
