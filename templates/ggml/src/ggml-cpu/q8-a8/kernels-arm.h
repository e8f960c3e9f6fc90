#pragma once

// 64-bit ARM: i8mm (2 x 2 outputs an instruction), dotprod, and NEON of ARMv8.0.

#include "kernels.h"

#include <arm_neon.h>

#include <vector>

namespace ggml::cpu::q8_a8 {

static inline float32x4_t load_scales(const uint8_t * src) {
    uint16x4_t half;
    memcpy(&half, src, sizeof(half));
    return vcvt_f32_f16(vreinterpret_f16_u16(half));
}

static inline void store(float * dst, float32x4_t low, float32x4_t high, int64_t n) {
    if (n >= PANEL) {
        vst1q_f32(dst, low);
        vst1q_f32(dst + 4, high);
    } else {
        const float32x4_t values[2] = { low, high };
        put(dst, (const float *) values, n);
    }
}

constexpr int TILE_M = 4;
constexpr int TILE_N = 1;

#if defined(Q8_A8_I8MM)

static const char * const NAME = "i8mm";

// Two rows of activations as the products want them: 8 of the first, 8 of the second. A last row without a partner is
// its own.
struct act_pair {
    float  scale[4]; // first, second, first, second
    int8_t qs[4][16];
};

// The rows of a call in pairs. Every panel meets them, so that pairing them once costs little.
struct inputs {
    const act_block * const * rows;
    int64_t                   nb;
    const act_pair *          pairs = nullptr;

    struct tile_inputs {
        const act_block * first;
        const act_pair *  pairs;
    };

    tile_inputs from(int64_t i) const { return { rows[i], pairs + i / 2 * nb }; }

    inputs(const act_block * const * x, int64_t m, int64_t nb) : rows(x), nb(nb) {
        static thread_local std::vector<act_pair> memory;
        if (m == 1) {
            return;
        }
        const size_t size = (m + 1) / 2 * nb;
        if (memory.size() < size) {
            memory.resize(size);
        }
        act_pair * pair = memory.data();
        for (int64_t i = 0; i < m; i += 2) {
            const act_block * even = x[i];
            const act_block * odd  = x[i + 1 < m ? i + 1 : i];
            for (int64_t b = 0; b < nb; b++, pair++) {
                pair->scale[0] = pair->scale[2] = even[b].scale;
                pair->scale[1] = pair->scale[3] = odd[b].scale;
                for (int g = 0; g < BLOCK / GROUP; g++) {
                    vst1q_s8(pair->qs[g], vcombine_s8(vld1_s8(even[b].qs + g * GROUP), vld1_s8(odd[b].qs + g * GROUP)));
                }
            }
        }
        pairs = memory.data();
    }
};

// One row of activations: a register of weights holds 8 of each of two rows, so sums come in two halves a row.
static inline void tile_one(const int8_t * qs, const uint8_t * scales, int64_t nb, const act_block * x, float * y,
                            int64_t n) {
    float32x4_t sum[2] = { vdupq_n_f32(0), vdupq_n_f32(0) };

    for (int64_t b = 0; b < nb; b++) {
        int32x4_t acc[4] = { vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0) };
        Q8_A8_UNROLL
        for (int g = 0; g < BLOCK / GROUP; g++) {
            const int8x8_t  half = vld1_s8(x[b].qs + g * GROUP);
            const int8x16_t a    = vcombine_s8(half, half);
            Q8_A8_UNROLL
            for (int r = 0; r < 4; r++) {
                acc[r] = vdotq_s32(acc[r], vld1q_s8(qs + g * PANEL * GROUP + r * 16), a);
            }
        }
        Q8_A8_UNROLL
        for (int h = 0; h < 2; h++) {
            const float32x4_t d = vmulq_n_f32(load_scales(scales + 8 * h), x[b].scale);
            sum[h] = vfmaq_f32(sum[h], vcvtq_f32_s32(vpaddq_s32(acc[2 * h], acc[2 * h + 1])), d);
        }
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }
    store(y, sum[0], sum[1], n);
}

// Sums are [row 0 x 0, row 0 x 1, row 1 x 0, row 1 x 1] until the end, in float too.
template <int M, int N>
static inline void tile(const uint8_t * weights, size_t, const uint8_t * scales, size_t, int64_t nb,
                        const inputs::tile_inputs & x, float * const * y, int64_t n) {
    static_assert(N == 1, "one panel at a time");

    const int8_t * qs = (const int8_t *) weights;
    if constexpr (M == 1) {
        if (!x.pairs) {
            tile_one(qs, scales, nb, x.first, y[0], n);
            return;
        }
    }

    constexpr int    PAIRS = (M + 1) / 2;
    const act_pair * a     = x.pairs;

    float32x4_t sum[PAIRS][4];
    Q8_A8_UNROLL
    for (int i = 0; i < PAIRS; i++) {
        Q8_A8_UNROLL
        for (int r = 0; r < 4; r++) {
            sum[i][r] = vdupq_n_f32(0);
        }
    }

    for (int64_t b = 0; b < nb; b++) {
        int32x4_t acc[PAIRS][4];
        Q8_A8_UNROLL
        for (int i = 0; i < PAIRS; i++) {
            Q8_A8_UNROLL
            for (int r = 0; r < 4; r++) {
                acc[i][r] = vdupq_n_s32(0);
            }
        }
        Q8_A8_UNROLL
        for (int g = 0; g < BLOCK / GROUP; g++) {
            int8x16_t pair[PAIRS];
            Q8_A8_UNROLL
            for (int i = 0; i < PAIRS; i++) {
                pair[i] = vld1q_s8(a[i * nb].qs[g]);
            }
            Q8_A8_UNROLL
            for (int r = 0; r < 4; r++) {
                const int8x16_t w = vld1q_s8(qs + g * PANEL * GROUP + r * 16);
                Q8_A8_UNROLL
                for (int i = 0; i < PAIRS; i++) {
                    acc[i][r] = vmmlaq_s32(acc[i][r], w, pair[i]);
                }
            }
        }
        const float32x4_t low   = load_scales(scales);
        const float32x4_t high  = load_scales(scales + 8);
        const float32x4_t dw[4] = { vzip1q_f32(low, low), vzip2q_f32(low, low), vzip1q_f32(high, high),
                                    vzip2q_f32(high, high) };
        Q8_A8_UNROLL
        for (int i = 0; i < PAIRS; i++) {
            const float32x4_t da = vld1q_f32(a[i * nb].scale);
            Q8_A8_UNROLL
            for (int r = 0; r < 4; r++) {
                sum[i][r] = vfmaq_f32(sum[i][r], vcvtq_f32_s32(acc[i][r]), vmulq_f32(dw[r], da));
            }
        }
        a++;
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }

    Q8_A8_UNROLL
    for (int i = 0; i < PAIRS; i++) {
        store(y[2 * i], vuzp1q_f32(sum[i][0], sum[i][1]), vuzp1q_f32(sum[i][2], sum[i][3]), n);
        if (2 * i + 1 < M) {
            store(y[2 * i + 1], vuzp2q_f32(sum[i][0], sum[i][1]), vuzp2q_f32(sum[i][2], sum[i][3]), n);
        }
    }
}

#else

using inputs = plain_inputs;

#    if defined(Q8_A8_DOTPROD)

static const char * const NAME = "dotprod";

// a block of 4 rows, the first half of a panel (h = 0) or the second
static inline int32x4_t dot_block(const int8_t * qs, int h, const act_block & x) {
    int32x4_t acc = vdupq_n_s32(0);
    Q8_A8_UNROLL
    for (int l = 0; l < 2; l++) {
        const int8_t *  w = qs + 4 * l * PANEL * GROUP + h * 16;
        const int8x16_t a = vld1q_s8(x.qs + 16 * l);
        acc = vdotq_laneq_s32(acc, vld1q_s8(w + 0 * PANEL * GROUP), a, 0);
        acc = vdotq_laneq_s32(acc, vld1q_s8(w + 1 * PANEL * GROUP), a, 1);
        acc = vdotq_laneq_s32(acc, vld1q_s8(w + 2 * PANEL * GROUP), a, 2);
        acc = vdotq_laneq_s32(acc, vld1q_s8(w + 3 * PANEL * GROUP), a, 3);
    }
    return acc;
}

#    else

static const char * const NAME = "neon";

// Two products of 8 bits are at most 2 * 128 * 127 = 32,512 in magnitude, so their sum fits 16 bits; it is added to its
// neighbour's in 32. What comes out are the halves of a row's sum side by side.
static inline int32x4_t dot_block(const int8_t * qs, int h, const act_block & x) {
    int32x4_t acc[2] = { vdupq_n_s32(0), vdupq_n_s32(0) };
    Q8_A8_UNROLL
    for (int g = 0; g < BLOCK / GROUP; g += 2) {
        const int8x16_t w0 = vld1q_s8(qs + g * PANEL * GROUP + h * 16);
        const int8x16_t w1 = vld1q_s8(qs + (g + 1) * PANEL * GROUP + h * 16);
        const int8x16_t a0 = vreinterpretq_s8_s32(vdupq_n_s32(load_i32(x.qs + g * GROUP)));
        const int8x16_t a1 = vreinterpretq_s8_s32(vdupq_n_s32(load_i32(x.qs + (g + 1) * GROUP)));

        acc[0] = vpadalq_s16(acc[0], vmlal_s8(vmull_s8(vget_low_s8(w0), vget_low_s8(a0)), vget_low_s8(w1), vget_low_s8(a1)));
        acc[1] = vpadalq_s16(acc[1], vmlal_high_s8(vmull_high_s8(w0, a0), w1, a1));
    }
    return vpaddq_s32(acc[0], acc[1]);
}

#    endif

template <int M, int N>
static inline void tile(const uint8_t * weights, size_t, const uint8_t * scales, size_t, int64_t nb,
                        const act_block * const * x, float * const * y, int64_t n) {
    static_assert(N == 1, "one panel at a time");

    const int8_t * qs = (const int8_t *) weights;
    float32x4_t    sum[M][2];
    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        sum[i][0] = sum[i][1] = vdupq_n_f32(0);
    }

    for (int64_t b = 0; b < nb; b++) {
        Q8_A8_UNROLL
        for (int h = 0; h < 2; h++) {
            const float32x4_t dw = load_scales(scales + 8 * h);
            // inlined, the loads of the weights are common to all rows
            Q8_A8_UNROLL
            for (int i = 0; i < M; i++) {
                const int32x4_t acc = dot_block(qs, h, x[i][b]);
                sum[i][h] = vfmaq_f32(sum[i][h], vcvtq_f32_s32(acc), vmulq_n_f32(dw, x[i][b].scale));
            }
        }
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }

    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        store(y[i], sum[i][0], sum[i][1], n);
    }
}

#endif

static inline void pack_panel(uint8_t * dst, const uint8_t * src, size_t stride) {
    pack_rows(dst, src, stride);
}

static inline void end_packing() {}

static inline void quantize_block(const float * src, act_block * dst) {
    float32x4_t v[8];
    uint32x4_t  most = vdupq_n_u32(0);
    Q8_A8_UNROLL
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(src + 4 * i);
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(v[i])));
    }

    float inverse;
    if (!set_scale(dst, vmaxvq_u32(most), inverse)) {
        return;
    }
    Q8_A8_UNROLL
    for (int i = 0; i < 8; i += 4) {
        int16x4_t words[4];
        Q8_A8_UNROLL
        for (int l = 0; l < 4; l++) {
            words[l] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(v[i + l], inverse)));
        }
        const int8x8_t low  = vqmovn_s16(vcombine_s16(words[0], words[1]));
        const int8x8_t high = vqmovn_s16(vcombine_s16(words[2], words[3]));
        vst1q_s8(dst->qs + 4 * i, vcombine_s8(low, high));
    }
    dst->start = 0;
}

} // namespace ggml::cpu::q8_a8
