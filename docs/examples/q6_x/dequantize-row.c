void dequantize_row_q6_x(const block_q6_x * GGML_RESTRICT x, float * GGML_RESTRICT y, int64_t k) {
    assert(k % QK6_X == 0);
    const int64_t n_blocks = k/QK6_X;

    for (int64_t ib = 0; ib < n_blocks; ++ib) {
        const float d = GGML_FP16_TO_FP32(x[ib].d);

        for (int j = 0; j < QK6_X; ++j) {
            const int low  = (x[ib].ql[j % (QK6_X/2)] >> (j < QK6_X/2 ? 0 : 4)) & 0x0F;
            const int high = (x[ib].qh[j % (QK6_X/4)] >> (2*(j/(QK6_X/4)))) & 0x03;

            *y++ = d*((low | (high << 4)) - 32);
        }
    }
}
