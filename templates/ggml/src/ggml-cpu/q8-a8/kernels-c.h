#pragma once

// Any machine: plain C++ in loops that compilers vectorize.

#include "kernels.h"

namespace ggml::cpu::q8_a8 {

static const char * const NAME = "portable";

using inputs = plain_inputs;

constexpr int TILE_M = 4;
constexpr int TILE_N = 1;

// One product at a time: a contraction to fma, where the compiler makes one, is then the same for every tile.
template <int M, int N>
static inline void tile(const uint8_t * qs, size_t qs_panel, const uint8_t * scales, size_t scales_panel, int64_t nb,
                        const act_block * const * x, float * const * y, int64_t n) {
    static_assert(N == 1, "one panel at a time");
    (void) qs_panel;
    (void) scales_panel;

    float sum[M][PANEL] = {};

    for (int64_t b = 0; b < nb; b++) {
        int32_t acc[M][PANEL] = {};
        for (int g = 0; g < BLOCK / GROUP; g++) {
            const int8_t * w = (const int8_t *) qs + g * PANEL * GROUP;
            for (int i = 0; i < M; i++) {
                const activation * a = x[i][b].qs + g * GROUP;
                for (int r = 0; r < PANEL; r++) {
                    for (int l = 0; l < GROUP; l++) {
                        acc[i][r] += (int32_t) w[r * GROUP + l] * a[l];
                    }
                }
            }
        }
        float dw[PANEL];
        for (int r = 0; r < PANEL; r++) {
            uint16_t half;
            memcpy(&half, scales + r * sizeof(half), sizeof(half));
            dw[r] = half_to_float(half);
        }
        for (int i = 0; i < M; i++) {
            for (int r = 0; r < PANEL; r++) {
                sum[i][r] += (float) acc[i][r] * (dw[r] * x[i][b].scale);
            }
        }
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }

    for (int i = 0; i < M; i++) {
        put(y[i], sum[i], n);
    }
}

static inline void pack_panel(uint8_t * dst, const uint8_t * src, size_t stride) {
    pack_rows(dst, src, stride);
}

static inline void end_packing() {}

static inline void quantize_block(const float * src, act_block * dst) {
    uint32_t most = 0;
    for (int i = 0; i < BLOCK; i++) {
        uint32_t bits;
        memcpy(&bits, src + i, sizeof(bits));
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float inverse;
    if (!set_scale(dst, most, inverse)) {
        return;
    }
    for (int i = 0; i < BLOCK; i++) {
        dst->qs[i] = (activation) std::nearbyint(src[i] * inverse);
    }
    dst->start = 0;
}

} // namespace ggml::cpu::q8_a8
