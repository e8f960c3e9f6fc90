#pragma once

// x86 with AMX: 16 rows of activations at a time in tiles; what is left of them is AVX512-VNNI's. The layout of the
// weights is the same, and so is every bit of the result: sums of a block are exact, and scaled in the same order.

#include "kernels.h"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ggml::cpu::q8_a8::amx {

constexpr int ROWS = 16;

static_assert(PANEL == 16 && GROUP == 4 && FLIP == 0x80, "a block of a panel is a tile of 8 rows of 16 x 4 unsigned bytes");

// what ldtilecfg reads
struct tile_config {
    uint8_t  palette;
    uint8_t  start_row;
    uint8_t  reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
};

static_assert(sizeof(tile_config) == 64, "ldtilecfg reads 64 bytes");

// Two tiles each of weights (0, 1), activations (2, 3) and sums (4, 5), as one block's sums are scaled while the next
// one's are made. A constant: GCC before 11.5, 12.4 and 13.3 drops stores to a configuration that is made on the stack.
alignas(64) static const tile_config CONFIG = { 1, 0, {}, { 64, 64, 32, 32, 64, 64 }, { 8, 8, 16, 16, 16, 16 } };

// The tiles are ours while this lives. ggml's own AMX kernels configure them once a thread, and rely on that.
class tiles {
    alignas(64) uint8_t before[64];

  public:
    tiles() {
        _tile_storeconfig(before);
        __asm__ volatile("" : : "r"(before) : "memory"); // all of it was written
        _tile_loadconfig(&CONFIG);
    }

    ~tiles() {
        if (before[0]) {
            _tile_loadconfig(before);
        } else {
            _tile_release();
        }
    }

    tiles(const tiles &) = delete;
};

// Linux gives a process the tiles' state when it asks for it, once for all of its threads.
static bool usable() {
    constexpr int REQUEST_PERMISSION = 0x1023; // ARCH_REQ_XCOMP_PERM
    constexpr int TILE_DATA          = 18;     // XFEATURE_XTILEDATA

    static const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return granted;
}

// Where the tile of 16 rows' activations of a block lies: in place where the rows are evenly spaced, as those of a matrix
// are, else copied together.
class activations {
    const act_block * const * x;
    int64_t                   stride; // bytes
    bool                      even = true;
    alignas(64) int8_t        copy[2][ROWS][BLOCK];

  public:
    explicit activations(const act_block * const * x) : x(x), stride((const char *) x[1] - (const char *) x[0]) {
        for (int i = 2; i < ROWS; i++) {
            even = even && (const char *) x[i] - (const char *) x[i - 1] == stride;
        }
    }

    int64_t row_bytes() const { return even ? stride : BLOCK; }

    const void * of(int64_t b) {
        if (even) {
            return x[0][b].qs;
        }
        auto & rows = copy[b % 2];
        for (int i = 0; i < ROWS; i++) {
            memcpy(rows[i], x[i][b].qs, BLOCK);
        }
        return rows;
    }
};

// the tiles of intrinsics are part of their names
#define Q8_A8_SUMS(to, sums, a, w)                             \
    do {                                                       \
        _tile_zero(sums);                                      \
        _tile_loadd(a, x.of(b), x.row_bytes());                \
        _tile_loadd(w, qs + b * matrix::QS, PANEL * GROUP);    \
        _tile_dpbsud(sums, a, w);                              \
        _tile_stored(sums, to, PANEL * sizeof(int32_t));       \
    } while (0)

// the integer sums of block b, without start
static inline void block_sums(int32_t (&to)[ROWS][PANEL], const uint8_t * qs, activations & x, int64_t b) {
    if (b % 2) {
        Q8_A8_SUMS(to, 5, 3, 1);
    } else {
        Q8_A8_SUMS(to, 4, 2, 0);
    }
}

#undef Q8_A8_SUMS

// 16 rows of activations and one panel
static inline void tile(const uint8_t * qs, const uint8_t * scales, int64_t nb, const act_block * const * x,
                        float * const * y, int64_t n) {
    __m512 sum[ROWS];
    Q8_A8_UNROLL
    for (int i = 0; i < ROWS; i++) {
        sum[i] = _mm512_setzero_ps();
    }

    activations in(x);
    alignas(64) int32_t acc[2][ROWS][PANEL];
    block_sums(acc[0], qs, in, 0);
    for (int64_t b = 0; b < nb; b++) {
        if (b + 1 < nb) {
            block_sums(acc[(b + 1) % 2], qs, in, b + 1);
        }
        const __m512 dw = _mm512_maskz_cvtph_ps(ALL, _mm256_loadu_si256((const __m256i *) (scales + b * matrix::SCALES)));
        Q8_A8_UNROLL
        for (int i = 0; i < ROWS; i++) {
            const __m512i v  = _mm512_add_epi32(_mm512_load_si512(acc[b % 2][i]), _mm512_set1_epi32(x[i][b].start));
            const __m512  da = _mm512_set1_ps(x[i][b].scale);
            sum[i]           = _mm512_fmadd_ps(_mm512_maskz_cvtepi32_ps(ALL, v), _mm512_mul_ps(dw, da), sum[i]);
        }
    }

    const __mmask16 rows = n < PANEL ? (__mmask16) ((1u << n) - 1) : ALL;
    Q8_A8_UNROLL
    for (int i = 0; i < ROWS; i++) {
        _mm512_mask_storeu_ps(y[i], rows, sum[i]);
    }
}

// m is a multiple of ROWS
static void multiply(const matrix & w, int64_t p0, int64_t p1, const act_block * const * x, float * const * y, int64_t m) {
    const tiles ours;
    for (int64_t panel = p0; panel < p1; panel++) {
        const int64_t first = panel * PANEL;
        for (int64_t i = 0; i < m; i += ROWS) {
            float * out[ROWS];
            for (int l = 0; l < ROWS; l++) {
                out[l] = y[i + l] + first;
            }
            tile(w.qs(panel), w.scales(panel), w.nb, x + i, out, w.n - first);
        }
    }
}

} // namespace ggml::cpu::q8_a8::amx
