"""Q8_A8's arithmetic in numpy: blocks of 32, an f16 scale, integers of 8 bits, for weights and activations.

The same rounding as ``quantize_row_q8_a8_ref``: scale = max|x| / 127, integers from the scale before it is
rounded to f16, products with the rounded one. Weights and activations are quantized alike.
"""

from __future__ import annotations

import numpy as np

from patcher.model.tensor_data import Array

BLOCK = 32
LEVELS = np.float32(127)


def quantized(values: Array) -> Array:
    """Quantize and dequantize along the last axis; a short last block counts as padded with zeros."""
    length = values.shape[-1]
    short = -length % BLOCK
    if short:
        values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, short)])
    blocks = values.reshape(*values.shape[:-1], -1, BLOCK)
    top = np.abs(blocks).max(-1, keepdims=True)
    inverse = np.divide(LEVELS, top, out=np.zeros_like(top), where=top > 0)
    scale = (top / LEVELS).astype(np.float16).astype(np.float32)
    result: Array = (np.rint(blocks * inverse) * scale).reshape(values.shape)
    return result[..., :length]
