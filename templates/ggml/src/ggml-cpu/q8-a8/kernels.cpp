#include "kernels.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <memory>

#if defined(__clang__)
#    define Q8_A8_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#    define Q8_A8_UNROLL _Pragma("GCC unroll 16")
#else
#    define Q8_A8_UNROLL
#endif

namespace ggml::cpu::q8_a8 {

static inline void prefetch(const void * src) {
#if defined(__GNUC__)
    __builtin_prefetch(src);
#else
    (void) src;
#endif
}

static inline int32_t load_i32(const void * src) {
    int32_t value;
    memcpy(&value, src, sizeof(value));
    return value;
}

static inline float half_to_float(uint16_t half) {
    // exponent and mantissa in float's places; 2^112 makes up for the difference of the biases, subnormals included
    const uint32_t sign = (uint32_t) (half & 0x8000) << 16;
    const uint32_t rest = (uint32_t) (half & 0x7fff) << 13;

    float value;
    memcpy(&value, &rest, sizeof(value));
    value *= 0x1p112f;

    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    bits |= sign | ((half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// the first of a panel's values that belong to rows of the matrix
[[maybe_unused]] static inline void put(float * dst, const float * values, int64_t n) {
    if (n >= PANEL) {
        memcpy(dst, values, PANEL * sizeof(float));
    } else if (n > 0) {
        memcpy(dst, values, n * sizeof(float));
    }
}

// The scale of a block, and what its activations are multiplied by, from the bits of the largest magnitude. False
// where that is all: zeros (and what is so small that the inverse would overflow), or no numbers.
static inline bool set_scale(act_block * dst, uint32_t top, float & inverse) {
    float most;
    memcpy(&most, &top, sizeof(most));
    const float scale = most / 127.0f;
    if (top < 0x7f800000 && scale >= FLT_MIN) {
        dst->scale = scale;
        inverse    = 1.0f / scale;
        return true;
    }
    dst->scale = top < 0x7f800000 ? 0.0f : NAN;
    dst->start = 0;
    memset(dst->qs, 0, sizeof(dst->qs));
    return false;
}

// the groups of a block, from one behind the other to where they lie among those of the panel's other rows
static inline void pack_block(uint8_t * dst, const uint8_t * src) {
    Q8_A8_UNROLL
    for (int i = 0; i < BLOCK; i += GROUP) {
        uint64_t group = 0;
        memcpy(&group, src + i, GROUP);
        group ^= FLIP * 0x0101010101010101u;
        memcpy(dst + i * PANEL, &group, GROUP);
    }
}

// the same for a block of each of a panel's rows, which are stride bytes apart
static inline void pack_rows(uint8_t * dst, const uint8_t * src, size_t stride) {
    for (int64_t r = 0; r < PANEL; r++) {
        pack_block(dst + r * GROUP, src + r * stride);
    }
}

// the rows of activations of a call, as they are
struct plain_inputs {
    const act_block * const * rows;

    plain_inputs(const act_block * const * x, int64_t /* m */, int64_t /* nb */) : rows(x) {}

    const act_block * const * from(int64_t i) const { return rows + i; }
};

} // namespace ggml::cpu::q8_a8

#if defined(Q8_A8_AVX512_VNNI) || defined(Q8_A8_AVX_VNNI) || defined(Q8_A8_AVX2)
#    include "kernels-x86.h"
#elif defined(Q8_A8_I8MM) || defined(Q8_A8_DOTPROD) || defined(Q8_A8_NEON)
#    include "kernels-arm.h"
#else
#    include "kernels-c.h"
#endif

#if defined(Q8_A8_AMX)
#    include "kernels-amx.h"
#endif

namespace ggml::cpu::q8_a8 {

// the tile of as many rows as there are, from the largest down
template <int M, int N, typename... Arguments> static inline void tile_of(int rows, const Arguments &... arguments) {
    if (rows == M) {
        tile<M, N>(arguments...);
    } else if constexpr (M > 1) {
        tile_of<M - 1, N>(rows, arguments...);
    }
}

// N panels, the first of which is panel and has the weights qs, and all rows
template <int N, typename Weight>
static void tiles(const matrix & w, int64_t panel, const Weight * qs, const inputs & x, float * const * y, int64_t m) {
    const int64_t first = panel * PANEL;

    float * out[TILE_M];
    for (int64_t i = 0; i < m; i += TILE_M) {
        const int rows = (int) std::min<int64_t>(TILE_M, m - i);
        for (int l = 0; l < rows; l++) {
            out[l] = y[i + l] + first;
        }
        tile_of<TILE_M, N>(rows, qs, w.nb * matrix::QS, w.scales(panel), w.nb * matrix::SCALES, w.nb, x.from(i), out, w.n - first);
    }
}

void multiply(const matrix & w, int64_t p0, int64_t p1, const act_block * const * x, float * const * y, int64_t m) {
#if defined(Q8_A8_AMX)
    if (m >= amx::ROWS && amx::usable()) {
        const int64_t whole = m / amx::ROWS * amx::ROWS;
        amx::multiply(w, p0, p1, x, y, whole);
        if (whole == m) {
            return;
        }
        x += whole;
        y += whole;
        m -= whole;
    }
#endif

    const inputs in(x, m, w.nb);

    // one row of activations is met by memory's pace: panels in sequence are one stream
    int64_t panel = p0;
#if defined(Q8_A8_AVX2)
    const size_t size = TILE_N * w.nb * matrix::QS;
    if (m >= 4 * TILE_M && size <= wide_weights::MOST) {
        static thread_local const std::unique_ptr<wide_weights> wide(new wide_weights);
        wide_weights & there = *wide;
        for (; panel + TILE_N <= p1; panel += TILE_N) {
            tiles<TILE_N>(w, panel, there.from(w.qs(panel), size), in, y, m);
        }
    }
#endif
    for (; m > 1 && panel + TILE_N <= p1; panel += TILE_N) {
        tiles<TILE_N>(w, panel, w.qs(panel), in, y, m);
    }
    for (; panel < p1; panel++) {
        tiles<1>(w, panel, w.qs(panel), in, y, m);
    }
}

layout layout_of_kernels() {
    return LAYOUT;
}

int64_t tile_rows() {
#if defined(Q8_A8_AMX)
    if (amx::usable()) {
        return amx::ROWS;
    }
#endif
    return TILE_M;
}

const char * name() {
#if defined(Q8_A8_AMX)
    if (amx::usable()) {
        return "amx-int8";
    }
#endif
    return NAME;
}

bool is_worth_it() {
#if defined(Q8_A8_PORTABLE) &&                                                                              \
    (defined(__SSSE3__) || defined(__ARM_NEON) || defined(__POWER9_VECTOR__) || defined(__loongarch_sx) || \
     defined(__wasm_simd128__) || defined(__VXE__) || defined(__riscv_v))
    return false; // ggml has a vectorized dot product there
#else
    return true;
#endif
}

void quantize(const float * src, act_block * dst, int64_t k) {
    for (int64_t b = 0; b < k / BLOCK; b++) {
        quantize_block(src + b * BLOCK, dst + b);
    }
}

void pack(const matrix & w, const void * src, int64_t r0, int64_t r1) {
    static const weight_block zeros = {};

    constexpr size_t ROWS_SIZE = PANEL * sizeof(weight_block);

    const size_t row_size = w.nb * sizeof(weight_block);
    for (int64_t panel = r0 / PANEL; panel * PANEL < r1; panel++) {
        const int64_t begin = panel * PANEL;
        const int64_t first = std::max(r0, begin) - begin;
        const int64_t last  = std::min(r1, begin + PANEL) - begin;
        const int64_t rows  = r1 == w.n ? PANEL : last; // with those behind the last one, which are zeros

        const uint8_t * row    = (const uint8_t *) src + (begin - r0) * (int64_t) row_size;
        uint8_t *       qs     = w.qs(panel);
        uint8_t *       scales = w.scales(panel);
        for (int64_t b = 0; b < w.nb; b++) {
            if (last - first == PANEL) {
                // as many streams as rows are more than a machine foresees: the next panel is asked for
                const uint8_t * next = (const uint8_t *) src + (begin + PANEL - r0) * row_size + b * ROWS_SIZE;
                for (size_t i = 0; i < ROWS_SIZE && begin + PANEL < r1; i += 64) {
                    prefetch(next + i);
                }
                pack_panel(qs, row + sizeof(uint16_t), row_size);
                for (int64_t r = 0; r < PANEL; r++) {
                    memcpy(scales + r * sizeof(uint16_t), row + r * row_size, sizeof(uint16_t));
                }
            } else {
                for (int64_t r = first; r < rows; r++) {
                    const uint8_t * block = r < last ? row + r * row_size : (const uint8_t *) &zeros;
                    pack_block(qs + r * GROUP, block + sizeof(uint16_t));
                    memcpy(scales + r * sizeof(uint16_t), block, sizeof(uint16_t));
                }
            }
            row    += sizeof(weight_block);
            qs     += matrix::QS;
            scales += matrix::SCALES;
        }
    }
    end_packing();
}

void unpack(const matrix & w, weight_block * dst, int64_t r, int64_t b0, int64_t b1) {
    for (int64_t b = b0; b < b1; b++, dst++) {
        memcpy(&dst->scale, w.scale(r, b), sizeof(uint16_t));
        for (int64_t i = 0; i < BLOCK; i += GROUP) {
            memcpy(dst->qs + i, w.group(r, b, i), GROUP);
        }
        for (int64_t i = 0; i < BLOCK; i++) {
            dst->qs[i] = (int8_t) ((uint8_t) dst->qs[i] ^ FLIP);
        }
    }
}

void dequantize(const matrix & w, float * dst, int64_t r) {
    for (int64_t b = 0; b < w.nb; b++, dst += BLOCK) {
        weight_block block;
        unpack(w, &block, r, b, b + 1);
        const float scale = half_to_float(block.scale);
        for (int64_t i = 0; i < BLOCK; i++) {
            dst[i] = scale * block.qs[i];
        }
    }
}

} // namespace ggml::cpu::q8_a8
