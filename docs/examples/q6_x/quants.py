class Q6_X(__Quant, qtype=GGMLQuantizationType.Q6_X):
    @classmethod
    def quantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
        n_blocks = blocks.shape[0]

        farthest = abs(blocks).argmax(axis=-1, keepdims=True)
        d = np.take_along_axis(blocks, farthest, axis=-1) / np.float32(-32)
        with np.errstate(divide="ignore"):
            id = np.where(d == 0, np.float32(0), 1 / d)
        q = (np.minimum(np_roundf(blocks * id), 31) + 32).astype(np.uint8)

        nibbles = (q & np.uint8(0x0F)).reshape((n_blocks, 2, cls.block_size // 2))
        ql = nibbles[:, 0] | (nibbles[:, 1] << np.uint8(4))
        pairs = (q >> np.uint8(4)).reshape((n_blocks, 4, cls.block_size // 4))
        qh = pairs[:, 0] | (pairs[:, 1] << np.uint8(2)) | (pairs[:, 2] << np.uint8(4)) | (pairs[:, 3] << np.uint8(6))

        return np.concatenate([d.astype(np.float16).view(np.uint8), ql, qh], axis=-1)

    @classmethod
    def dequantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
        n_blocks = blocks.shape[0]

        d, ql, qh = np.hsplit(blocks, [2, 2 + cls.block_size // 2])
        d = d.view(np.float16).astype(np.float32)
        low = ql.reshape((n_blocks, 1, -1)) >> np.array([0, 4], dtype=np.uint8).reshape((1, 2, 1))
        high = qh.reshape((n_blocks, 1, -1)) >> np.array([0, 2, 4, 6], dtype=np.uint8).reshape((1, 4, 1))
        low = (low & np.uint8(0x0F)).reshape((n_blocks, cls.block_size))
        high = (high & np.uint8(0x03)).reshape((n_blocks, cls.block_size))
        q = (low | (high << np.uint8(4))).astype(np.int8) - np.int8(32)

        return d * q.astype(np.float32)
