#pragma once

// x86: AVX512-VNNI (16 rows a register), AVX-VNNI and AVX2 (8 rows a register).

#include "kernels.h"

#include <immintrin.h>

namespace ggml::cpu::q8_a8 {

using inputs = plain_inputs;

// Packed weights are read much later. They are written past the caches, so that nobody reads the lines that they fill;
// others may see them from here on. A block of a panel lies at a multiple of 64 bytes.
static inline void end_packing() {
    _mm_sfence();
}

#if defined(Q8_A8_AVX512_VNNI)

static const char * const NAME = "avx512-vnni";

// 6 x 2 registers of sums in int and as many in float leave 8 for weights, scales and the broadcast
constexpr int TILE_M = 6;
constexpr int TILE_N = 2;

// the plain forms of conversions leave lanes uninitialized in GCC 12's eyes, and it warns
constexpr __mmask16 ALL = 0xffff;

template <int M, int N>
static inline void tile(const uint8_t * qs, size_t qs_panel, const uint8_t * scales, size_t scales_panel, int64_t nb,
                        const act_block * const * x, float * const * y, int64_t n) {
    __m512 sum[M][N];
    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            sum[i][j] = _mm512_setzero_ps();
        }
    }

    // the outputs' lines are fetched while the sums are made
    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            _mm_prefetch((const char *) (y[i] + j * PANEL), _MM_HINT_T0);
        }
    }

    for (int64_t b = 0; b < nb; b++) {
        __m512i acc[M][N];
        Q8_A8_UNROLL
        for (int i = 0; i < M; i++) {
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                acc[i][j] = _mm512_set1_epi32(x[i][b].start);
            }
        }
        Q8_A8_UNROLL
        for (int g = 0; g < BLOCK / GROUP; g++) {
            __m512i w[N];
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                w[j] = _mm512_loadu_si512(qs + j * qs_panel + g * 64);
            }
            Q8_A8_UNROLL
            for (int i = 0; i < M; i++) {
                const __m512i a = _mm512_set1_epi32(load_i32(x[i][b].qs + g * GROUP));
                Q8_A8_UNROLL
                for (int j = 0; j < N; j++) {
                    acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], w[j], a);
                }
            }
        }
        __m512 dw[N];
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            dw[j] = _mm512_maskz_cvtph_ps(ALL, _mm256_loadu_si256((const __m256i *) (scales + j * scales_panel)));
        }
        Q8_A8_UNROLL
        for (int i = 0; i < M; i++) {
            const __m512 da = _mm512_set1_ps(x[i][b].scale);
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                sum[i][j] = _mm512_fmadd_ps(_mm512_maskz_cvtepi32_ps(ALL, acc[i][j]), _mm512_mul_ps(dw[j], da), sum[i][j]);
            }
        }
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }

    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            const int64_t rest = n - j * PANEL;
            _mm512_mask_storeu_ps(y[i] + j * PANEL, rest < PANEL ? (__mmask16) ((1u << rest) - 1) : ALL, sum[i][j]);
        }
    }
}

// 16 rows of 8 groups become 8 groups of 16 rows: rows r and r + 8 share a register, in whose halves 8 x 8 groups are
// transposed
static inline void pack_panel(uint8_t * dst, const uint8_t * src, size_t stride) {
    __m512i rows[8], pairs[8], quads[8];
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r++) {
        const __m256i low  = _mm256_loadu_si256((const __m256i *) (src + r * stride));
        const __m256i high = _mm256_loadu_si256((const __m256i *) (src + (r + 8) * stride));
        rows[r] = _mm512_xor_si512(_mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(low), high, 1), _mm512_set1_epi8(-128));
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r += 2) {
        pairs[r]     = _mm512_maskz_unpacklo_epi32(ALL, rows[r], rows[r + 1]); // groups 0, 1 and 4, 5
        pairs[r + 1] = _mm512_maskz_unpackhi_epi32(ALL, rows[r], rows[r + 1]); // groups 2, 3 and 6, 7
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r += 4) {
        Q8_A8_UNROLL
        for (int g = 0; g < 2; g++) {
            quads[r + 2 * g]     = _mm512_maskz_unpacklo_epi64(0xff, pairs[r + g], pairs[r + 2 + g]); // 2g and 2g + 4
            quads[r + 2 * g + 1] = _mm512_maskz_unpackhi_epi64(0xff, pairs[r + g], pairs[r + 2 + g]); // 2g + 1 and 2g + 5
        }
    }
    const __m512i first  = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    Q8_A8_UNROLL
    for (int g = 0; g < 4; g++) {
        _mm512_stream_si512((__m512i *) (dst + g * 64), _mm512_permutex2var_epi64(quads[g], first, quads[g + 4]));
        _mm512_stream_si512((__m512i *) (dst + (g + 4) * 64), _mm512_permutex2var_epi64(quads[g], second, quads[g + 4]));
    }
}

#else

#    if defined(Q8_A8_AVX_VNNI)

static const char * const NAME = "avx-vnni";

// sums in float live in memory while a block's sums in int fill the registers
constexpr int TILE_M = 4;
constexpr int TILE_N = 2;

static inline __m256i load_weights(const uint8_t * src) {
    return _mm256_loadu_si256((const __m256i *) src);
}

static inline __m256i multiply_add(__m256i acc, __m256i w, __m256i a) {
#        if defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(acc, w, a);
#        else
    return _mm256_dpbusd_epi32(acc, w, a);
#        endif
}

// 8 rows of 8 groups become 8 groups of 8 rows
static inline void pack_panel(uint8_t * dst, const uint8_t * src, size_t stride) {
    __m256i rows[8], pairs[8], quads[8];
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r++) {
        rows[r] = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *) (src + r * stride)), _mm256_set1_epi8(-128));
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r += 2) {
        pairs[r]     = _mm256_unpacklo_epi32(rows[r], rows[r + 1]); // groups 0, 1 and 4, 5
        pairs[r + 1] = _mm256_unpackhi_epi32(rows[r], rows[r + 1]); // groups 2, 3 and 6, 7
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r += 4) {
        Q8_A8_UNROLL
        for (int g = 0; g < 2; g++) {
            quads[r + 2 * g]     = _mm256_unpacklo_epi64(pairs[r + g], pairs[r + 2 + g]); // 2g and 2g + 4
            quads[r + 2 * g + 1] = _mm256_unpackhi_epi64(pairs[r + g], pairs[r + 2 + g]); // 2g + 1 and 2g + 5
        }
    }
    Q8_A8_UNROLL
    for (int g = 0; g < 4; g++) {
        _mm256_stream_si256((__m256i *) (dst + g * 32), _mm256_permute2x128_si256(quads[g], quads[g + 4], 0x20));
        _mm256_stream_si256((__m256i *) (dst + (g + 4) * 32), _mm256_permute2x128_si256(quads[g], quads[g + 4], 0x31));
    }
}

#    else

// Bytes could be multiplied as |w| * (sign(w) a), but the sign costs as much as a product, for every product. Weights
// are made 16 bits wide once for all activations of a tile instead; these come as 16 bits.
static const char * const NAME = "avx2";

// sums in int fill the registers, those in float live in memory
constexpr int TILE_M = 6;
constexpr int TILE_N = 2;

static inline __m256i load_weights(const uint8_t * src) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) src));
}

static inline __m256i load_weights(const int16_t * src) {
    return _mm256_load_si256((const __m256i *) src);
}

// Weights of panels that many tiles meet: to make them wide in each takes a twentieth of the time.
struct wide_weights {
    static constexpr size_t MOST = 1 << 15; // more come no faster from the second cache than they are made

    alignas(32) int16_t qs[MOST];

    const int16_t * from(const uint8_t * src, size_t size) {
        for (size_t i = 0; i < size; i += 16) {
            _mm256_store_si256((__m256i *) (qs + i), load_weights(src + i));
        }
        return qs;
    }
};

static inline __m256i multiply_add(__m256i acc, __m256i w, __m256i a) {
#        if defined(__GNUC__)
    // GCC 12 adds up later otherwise, has no register left for what waits, and half the speed
    __asm__("vpaddd %1, %0, %0" : "+x"(acc) : "x"(_mm256_madd_epi16(w, a)));
    return acc;
#        else
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w, a));
#        endif
}

// 8 rows of 16 groups become 16 groups of 8 rows; those of a register's second half are 8 more than the first's
static inline void pack_panel(uint8_t * dst, const uint8_t * src, size_t stride) {
    __m256i rows[8], pairs[8], quads[8];
    Q8_A8_UNROLL
    for (int r = 0; r < 8; r++) {
        rows[r] = _mm256_loadu_si256((const __m256i *) (src + r * stride));
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 4; r++) {
        pairs[r]     = _mm256_unpacklo_epi16(rows[2 * r], rows[2 * r + 1]); // groups 0 to 3
        pairs[r + 4] = _mm256_unpackhi_epi16(rows[2 * r], rows[2 * r + 1]); // groups 4 to 7
    }
    Q8_A8_UNROLL
    for (int r = 0; r < 4; r++) { // rows 0 to 3 or 4 to 7, groups 4 (r / 2) and on
        const __m256i first = pairs[2 * r], second = pairs[2 * r + 1];
        quads[2 * r]     = _mm256_unpacklo_epi32(first, second);
        quads[2 * r + 1] = _mm256_unpackhi_epi32(first, second);
    }
    Q8_A8_UNROLL
    for (int g = 0; g < 8; g++) {
        const __m256i low = quads[g / 4 * 4 + g / 2 % 2], high = quads[g / 4 * 4 + 2 + g / 2 % 2];
        const __m256i all = g % 2 ? _mm256_unpackhi_epi64(low, high) : _mm256_unpacklo_epi64(low, high);
        _mm_stream_si128((__m128i *) (dst + g * 16), _mm256_castsi256_si128(all));
        _mm_stream_si128((__m128i *) (dst + (g + 8) * 16), _mm256_extracti128_si256(all, 1));
    }
}

#    endif


template <int M, int N, typename Weight>
static inline void tile(const Weight * qs, size_t qs_panel, const uint8_t * scales, size_t scales_panel, int64_t nb,
                        const act_block * const * x, float * const * y, int64_t n) {
    __m256 sum[M][N];
    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            sum[i][j] = _mm256_setzero_ps();
        }
    }

    for (int64_t b = 0; b < nb; b++) {
        __m256i acc[M][N];
        Q8_A8_UNROLL
        for (int i = 0; i < M; i++) {
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                acc[i][j] = _mm256_set1_epi32(x[i][b].start);
            }
        }
        for (int g = 0; g < BLOCK / GROUP; g++) {
            __m256i w[N];
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                w[j] = load_weights(qs + j * qs_panel + g * PANEL * GROUP);
            }
            Q8_A8_UNROLL
            for (int i = 0; i < M; i++) {
                const __m256i a = _mm256_set1_epi32(load_i32(x[i][b].qs + g * GROUP));
                Q8_A8_UNROLL
                for (int j = 0; j < N; j++) {
                    acc[i][j] = multiply_add(acc[i][j], w[j], a);
                }
            }
        }
        __m256 dw[N];
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            dw[j] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (scales + j * scales_panel)));
        }
        Q8_A8_UNROLL
        for (int i = 0; i < M; i++) {
            const __m256 da = _mm256_set1_ps(x[i][b].scale);
            Q8_A8_UNROLL
            for (int j = 0; j < N; j++) {
                sum[i][j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[i][j]), _mm256_mul_ps(dw[j], da), sum[i][j]);
            }
        }
        qs     += matrix::QS;
        scales += matrix::SCALES;
    }

    Q8_A8_UNROLL
    for (int i = 0; i < M; i++) {
        Q8_A8_UNROLL
        for (int j = 0; j < N; j++) {
            float values[PANEL];
            _mm256_storeu_ps(values, sum[i][j]);
            put(y[i] + j * PANEL, values, n - j * PANEL);
        }
    }
}

#endif

static inline void quantize_block(const float * src, act_block * dst) {
    __m256  v[4];
    __m256i most = _mm256_setzero_si256();
    Q8_A8_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(src + 8 * i);
        most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(0x7fffffff)));
    }
    __m128i top = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    top         = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4e));
    top         = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xb1));

    float inverse;
    if (!set_scale(dst, (uint32_t) _mm_cvtsi128_si32(top), inverse)) {
        return;
    }
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i      q[4];
    Q8_A8_UNROLL
    for (int i = 0; i < 4; i++) {
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], factor));
    }
    // packing works within halves of a register, the permutations put the quarters in order
    __m256i words[2];
    Q8_A8_UNROLL
    for (int i = 0; i < 2; i++) {
        words[i] = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2 * i], q[2 * i + 1]), 0xd8);
    }
#if defined(Q8_A8_AVX2)
    _mm256_storeu_si256((__m256i *) dst->qs, words[0]);
    _mm256_storeu_si256((__m256i *) (dst->qs + 16), words[1]);
    dst->start = 0;
#else
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words[0], words[1]), 0xd8);
    _mm256_storeu_si256((__m256i *) dst->qs, bytes);

    const __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i all  = _mm_add_epi64(half, _mm_unpackhi_epi64(half, half));
    dst->start         = -128 * (_mm_cvtsi128_si32(all) - 128 * (int32_t) BLOCK);
#endif
}

} // namespace ggml::cpu::q8_a8
