#pragma once

// Matrix products of Q8_A8 weights with activations that are quantized on the fly.
//
// No part of ggml is needed to compile this, so the kernels can be tested alone, for any machine.

#include <cstddef>
#include <cstdint>
#include <cstring>

// Which kernels are compiled is known from what the compiler may assume of the machine. Builds with
// GGML_CPU_ALL_VARIANTS compile this once a variant, each with its own flags. Nothing may be asked for that a header of
// ggml's defines: files that include it and files that don't would lay out blocks differently. MSVC names neither FMA
// nor F16C, which every machine with AVX2 has.
#if defined(__AVX2__) && (defined(_MSC_VER) || (defined(__FMA__) && defined(__F16C__)))
#    define Q8_A8_HAS_AVX2
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__) && !defined(Q8_A8_NARROW)
#    define Q8_A8_AVX512_VNNI
#    if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__linux__) && defined(__x86_64__)
#        define Q8_A8_AMX // beside it, where the kernel lets us
#    endif
#elif defined(Q8_A8_HAS_AVX2) && (defined(__AVXVNNI__) || (defined(__AVX512VL__) && defined(__AVX512VNNI__)))
#    define Q8_A8_AVX_VNNI
#elif defined(Q8_A8_HAS_AVX2)
#    define Q8_A8_AVX2
#elif defined(__ARM_NEON) && defined(__aarch64__) && defined(__ARM_FEATURE_MATMUL_INT8) && defined(__ARM_FEATURE_DOTPROD)
#    define Q8_A8_I8MM
#elif defined(__ARM_NEON) && defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#    define Q8_A8_DOTPROD
#elif defined(__ARM_NEON) && defined(__aarch64__)
#    define Q8_A8_NEON
#else
#    define Q8_A8_PORTABLE
#endif

namespace ggml::cpu::q8_a8 {

// weights that share a scale, activations that share one
constexpr int64_t BLOCK = 32;

// The machine's layout of a matrix. PANEL rows lie interleaved: GROUP weights of the first row, GROUP of the
// second, ..., then the next GROUP of the first. One load is a whole register of outputs' next weights. The
// instructions that multiply unsigned by signed bytes want the weights unsigned: FLIP is what each weight's byte
// is xored with, 0x80 adds 128.
#if defined(Q8_A8_AVX512_VNNI)
constexpr int64_t PANEL = 16;
constexpr int64_t GROUP = 4;
constexpr uint8_t FLIP  = 0x80;
#elif defined(Q8_A8_AVX_VNNI)
constexpr int64_t PANEL = 8;
constexpr int64_t GROUP = 4;
constexpr uint8_t FLIP  = 0x80;
#elif defined(Q8_A8_AVX2)
constexpr int64_t PANEL = 8;
constexpr int64_t GROUP = 2;
constexpr uint8_t FLIP  = 0;
#elif defined(Q8_A8_I8MM)
constexpr int64_t PANEL = 8;
constexpr int64_t GROUP = 8;
constexpr uint8_t FLIP  = 0;
#else
constexpr int64_t PANEL = 8;
constexpr int64_t GROUP = 4;
constexpr uint8_t FLIP  = 0;
#endif

// a block of weights as the file has it
struct weight_block {
    uint16_t scale; // IEEE half
    int8_t   qs[BLOCK];
};

static_assert(sizeof(weight_block) == 34, "a block of the file has 34 bytes");

#if defined(Q8_A8_AVX2)
using activation = int16_t; // multiplied as such
#else
using activation = int8_t;
#endif

// 32 activations of one row. |qs| <= 127.
//
// start is where the integer sum of a block begins: -128 * sum(qs) where FLIP adds 128 to the weights, else 0.
// With w in [-128, 127] the sum of a block is at most 32 * 128 * 127 = 520,192 in magnitude. On the way there,
// weights of up to 255 reach 32 * 255 * 127 + 128 * 32 * 127 = 1,556,512. Both are far inside int32, whatever k,
// as each block is scaled and added up in float; the sum of a block is below 2^24, so its float is exact.
struct act_block {
    float      scale;
    int32_t    start;
    activation qs[BLOCK];
};

static_assert(sizeof(act_block) == 8 + BLOCK * sizeof(activation), "an act_block has no padding");

// One matrix in the machine's layout: first all panels' weights, then all panels' scales.
struct matrix {
    uint8_t * base;
    int64_t   n;  // rows
    int64_t   nb; // blocks in a row

    static constexpr size_t SCALES = PANEL * sizeof(uint16_t); // bytes of a block of a panel
    static constexpr size_t QS     = PANEL * BLOCK;

    int64_t panels() const { return (n + PANEL - 1) / PANEL; }

    uint8_t * qs(int64_t panel) const { return base + panel * nb * QS; }

    uint8_t * scales(int64_t panel) const { return base + (panels() * QS + panel * SCALES) * nb; }

    // a multiple of 64, so that matrices that follow each other are all aligned
    size_t size() const { return (panels() * nb * (QS + SCALES) + 63) / 64 * 64; }

    // where the GROUP of weights that starts at i of a block of row r lies
    uint8_t * group(int64_t r, int64_t b, int64_t i) const {
        return qs(r / PANEL) + b * QS + i * PANEL + r % PANEL * GROUP;
    }

    uint8_t * scale(int64_t r, int64_t b) const { return scales(r / PANEL) + b * SCALES + r % PANEL * sizeof(uint16_t); }
};

// What a file that includes this takes blocks to be: all have to agree, whatever each was compiled with.
struct layout {
    size_t  act_block;
    int64_t panel, group;
    uint8_t flip;
};

constexpr layout LAYOUT = { sizeof(act_block), PANEL, GROUP, FLIP };

// that of the kernels
layout layout_of_kernels();

// rows r0 to r1 of the file's layout into the machine's, and rows behind the last one as zeros; src is row r0
void pack(const matrix & w, const void * src, int64_t r0, int64_t r1);

// the blocks b0 to b1 of row r, as the file has them
void unpack(const matrix & w, weight_block * dst, int64_t r, int64_t b0, int64_t b1);

// row r in float: scale * weight, rounded once
void dequantize(const matrix & w, float * dst, int64_t r);

// k activations, a multiple of BLOCK; a block that holds a NaN or an infinity gets the scale NaN
void quantize(const float * src, act_block * dst, int64_t k);

// y[i][r] = sum over k of weights[r][k] * x[i][k], for the rows r of the panels p0 to p1 and all i < m.
//
// The value of an output depends on its row and column alone, to the last bit: not on m, p0, p1 or the tile that it
// falls in. x[i] has w.nb blocks; y[i] is where row 0 would be.
void multiply(const matrix & w, int64_t p0, int64_t p1, const act_block * const * x, float * const * y, int64_t m);

// activation rows that a tile takes: chunks of work are best a multiple of it
int64_t tile_rows();

// what the kernels are made of, for people
const char * name();

// whether these kernels are better than what ggml has for blocks of 8 bits on the machine that this is compiled for
bool is_worth_it();

} // namespace ggml::cpu::q8_a8
