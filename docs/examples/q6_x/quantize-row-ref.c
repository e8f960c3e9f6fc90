void quantize_row_q6_x_ref(const float * GGML_RESTRICT x, block_q6_x * GGML_RESTRICT y, int64_t k) {
    assert(k % QK6_X == 0);
    const int64_t n_blocks = k/QK6_X;

    for (int64_t ib = 0; ib < n_blocks; ++ib) {
        const float * w = x + ib*QK6_X;

        float extreme = 0.0f; // the weight that is farthest from 0, with its sign
        for (int j = 0; j < QK6_X; ++j) {
            if (fabsf(w[j]) > fabsf(extreme)) {
                extreme = w[j];
            }
        }

        // -32 has no opposite: the extreme gets it, whatever its sign
        const float d  = extreme/-32;
        const float id = d != 0.0f ? 1.0f/d : 0.0f;

        uint8_t q[QK6_X];
        for (int j = 0; j < QK6_X; ++j) {
            q[j] = (uint8_t) (MIN(31, (int) roundf(w[j]*id)) + 32);
        }

        y[ib].d = GGML_FP32_TO_FP16(d);
        for (int j = 0; j < QK6_X/2; ++j) {
            y[ib].ql[j] = (q[j] & 0x0F) | ((q[j + QK6_X/2] & 0x0F) << 4);
        }
        for (int j = 0; j < QK6_X/4; ++j) {
            y[ib].qh[j] = (q[j] >> 4) | ((q[j + QK6_X/4] >> 4) << 2) | ((q[j + QK6_X/2] >> 4) << 4) | ((q[j + 3*QK6_X/4] >> 4) << 6);
        }
    }
}
