{# the conversion got a name of its own in the CPU backend in June 2025 #}
{% set to_float = 'GGML_CPU_FP16_TO_FP32' if has('ggml/src/ggml-cpu/simd-mappings.h', 'GGML_CPU_FP16_TO_FP32') else 'GGML_FP16_TO_FP32' %}
// one block of weights meets two of activations; loops of a fixed length, which the compiler vectorizes
void ggml_vec_dot_q6_x_q8_0(int n, float * GGML_RESTRICT s, size_t bs, const void * GGML_RESTRICT vx, size_t bx, const void * GGML_RESTRICT vy, size_t by, int nrc) {
    assert(n % QK6_X == 0);
    assert(nrc == 1);
    GGML_UNUSED(bs);
    GGML_UNUSED(bx);
    GGML_UNUSED(by);
    GGML_UNUSED(nrc);

    const block_q6_x * GGML_RESTRICT x = vx;
    const block_q8_0 * GGML_RESTRICT y = vy;

    float sum = 0.0f;
    for (int ib = 0; ib < n/QK6_X; ++ib) {
        int8_t w[QK6_X];
        for (int j = 0; j < QK6_X/4; ++j) {
            const uint8_t l0 = x[ib].ql[j];
            const uint8_t l1 = x[ib].ql[j + QK6_X/4];
            const uint8_t h  = x[ib].qh[j];

            w[j]             = (int8_t) (((l0 & 0x0F) | ((h & 0x03) << 4)) - 32);
            w[j + QK6_X/4]   = (int8_t) (((l1 & 0x0F) | ((h & 0x0C) << 2)) - 32);
            w[j + QK6_X/2]   = (int8_t) (((l0 >> 4)   |  (h & 0x30))       - 32);
            w[j + 3*QK6_X/4] = (int8_t) (((l1 >> 4)   | ((h & 0xC0) >> 2)) - 32);
        }

        for (int half = 0; half < QK6_X/QK8_0; ++half) {
            const block_q8_0 * a = y + ib*(QK6_X/QK8_0) + half;

            int32_t dot = 0;
            for (int j = 0; j < QK8_0; ++j) {
                dot += w[half*QK8_0 + j]*a->qs[j];
            }
            sum += {{ to_float }}(x[ib].d)*{{ to_float }}(a->d)*dot;
        }
    }
    *s = sum;
}
