// The kernels alone, against sums in exact integers. No part of ggml is needed, so this runs for any machine:
//   c++ -std=c++17 -O2 -I <tree>/ggml/src/ggml-cpu/q8-a8 test_q8_a8_kernels.cpp <...>/q8-a8/kernels.cpp
// Exit code 0: all held; 1: the first that didn't is named on stderr. Argument: the seed.

#include "kernels.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

using namespace ggml::cpu::q8_a8;

static std::mt19937 rng;

[[noreturn]] static void fail(const char * format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", name());
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static int64_t any(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(rng);
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

// exact for every half, in doubles: another way than the kernels go
static float half_value(uint16_t half) {
    const int    exponent = half >> 10 & 31;
    const int    mantissa = half & 1023;
    const double sign     = half & 0x8000 ? -1 : 1;
    if (exponent == 31) {
        return mantissa ? NAN : (float) (sign * INFINITY);
    }
    return (float) (sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24)));
}

// A matrix as the file has it and packed, in a buffer of exactly its size so that a sanitizer sees any step beyond.
struct weights {
    int64_t                   n, nb;
    std::vector<weight_block> blocks;
    void *                    memory;
    matrix                    packed;

    weights(int64_t n, int64_t nb) : n(n), nb(nb), blocks(n * nb), memory(nullptr), packed{ nullptr, n, nb } {
        memory      = std::aligned_alloc(64, packed.size());
        packed.base = (uint8_t *) memory;
        memset(memory, 0xa5, packed.size());
    }

    weights(const weights &) = delete;

    ~weights() { std::free(memory); }

    void pack_all() { pack(packed, blocks.data(), 0, n); }
};

static void fill(weights & w, bool scales_of_one) {
    for (auto & block : w.blocks) {
        block.scale = scales_of_one ? 0x3c00 : (uint16_t) (any(0, 0x7bff) | any(0, 1) << 15);
        if (!scales_of_one && any(0, 3)) {
            block.scale = (uint16_t) any(0x1000, 0x2400); // as in models
        }
        for (auto & q : block.qs) {
            q = (int8_t) any(-128, 127);
        }
    }
    w.pack_all();
}

static void set_start(act_block & block) {
    int32_t sum = 0;
    for (const auto q : block.qs) {
        sum += q;
    }
    block.start = FLIP ? -128 * sum : 0;
}

static void fill(std::vector<act_block> & x, bool scales_of_one) {
    for (auto & block : x) {
        block.scale = scales_of_one ? 1.0f : std::ldexp((float) any(1, 1 << 24), (int) any(-40, -16));
        for (auto & q : block.qs) {
            q = (activation) any(-127, 127);
        }
        set_start(block);
    }
}

static int32_t exact(const weight_block & w, const act_block & x) {
    int32_t sum = 0;
    for (int64_t i = 0; i < BLOCK; i++) {
        sum += (int32_t) w.qs[i] * x.qs[i];
    }
    return sum;
}

// all outputs, with a guard behind each row; the order and the partition of the work are the caller's
static std::vector<float> product(const weights & w, const std::vector<act_block> & x, int64_t m, int64_t panels_a_call,
                                  int64_t rows_a_call, bool shuffled = false) {
    const float        guard  = 12345.0f;
    const int64_t      stride = w.n + 1;
    std::vector<float> y(m * stride, guard);

    std::vector<const act_block *> xs(m);
    std::vector<float *>           ys(m);
    std::vector<int64_t> order(m);
    std::iota(order.begin(), order.end(), 0);
    if (shuffled) { // as experts meet their tokens
        std::shuffle(order.begin(), order.end(), rng);
    }
    for (int64_t i = 0; i < m; i++) {
        xs[i] = x.data() + order[i] * w.nb;
        ys[i] = y.data() + order[i] * stride;
    }
    for (int64_t i = 0; i < m; i += rows_a_call) {
        for (int64_t p = 0; p < w.packed.panels(); p += panels_a_call) {
            multiply(w.packed, p, std::min(p + panels_a_call, w.packed.panels()), xs.data() + i, ys.data() + i,
                     std::min(rows_a_call, m - i));
        }
    }
    for (int64_t i = 0; i < m; i++) {
        if (y[i * stride + w.n] != guard) {
            fail("%ld x %ld: row %ld was written beyond its end", (long) m, (long) w.n, (long) i);
        }
    }
    return y;
}

// With scales of 1 an output is its integer sum, as long as that is below 2^24: bit-exact.
static void integers_are_exact(int64_t m, int64_t n, int64_t nb) {
    weights                w(n, nb);
    std::vector<act_block> x(m * nb);
    fill(w, true);
    fill(x, true);

    const auto y = product(w, x, m, w.packed.panels(), m);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t r = 0; r < n; r++) {
            int64_t sum = 0;
            for (int64_t b = 0; b < nb; b++) {
                sum += exact(w.blocks[r * nb + b], x[i * nb + b]);
            }
            if (std::llabs(sum) < 1 << 24 && y[i * (n + 1) + r] != (float) sum) {
                fail("m %ld n %ld k %ld, output (%ld, %ld): %.1f instead of %ld", (long) m, (long) n, (long) (nb * BLOCK),
                     (long) i, (long) r, y[i * (n + 1) + r], (long) sum);
            }
        }
    }
}

// Scales as they come. Error is measured by the sum of the magnitudes of what is added up: cancellation is not an error.
static void floats_are_close(int64_t m, int64_t n, int64_t nb) {
    weights                w(n, nb);
    std::vector<act_block> x(m * nb);
    fill(w, false);
    fill(x, false);

    const auto y = product(w, x, m, w.packed.panels(), m);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t r = 0; r < n; r++) {
            double sum = 0, magnitude = 0;
            for (int64_t b = 0; b < nb; b++) {
                const auto & block = w.blocks[r * nb + b];
                const double part  = (double) exact(block, x[i * nb + b]) * half_value(block.scale) * x[i * nb + b].scale;
                sum += part;
                magnitude += std::fabs(part);
            }
            const double error = std::fabs(y[i * (n + 1) + r] - sum);
            if (!(error <= 1e-5 * magnitude + FLT_MIN)) {
                fail("m %ld n %ld k %ld, output (%ld, %ld): %g instead of %g", (long) m, (long) n, (long) (nb * BLOCK),
                     (long) i, (long) r, y[i * (n + 1) + r], sum);
            }
        }
    }

    // the same bits, however the work is cut
    for (int round = 0; round < 3; round++) {
        const int64_t panels = any(1, w.packed.panels()), rows = any(1, m);
        const auto    other  = product(w, x, m, panels, rows, round % 2);
        if (memcmp(y.data(), other.data(), y.size() * sizeof(float)) != 0) {
            fail("m %ld n %ld k %ld: other bits in calls of %ld rows and %ld panels", (long) m, (long) n,
                 (long) (nb * BLOCK), (long) rows, (long) panels);
        }
    }
}

// +-127 everywhere, and the -128 that no quantizer makes but a file may hold. A block's sum is then a multiple of 2^5
// below 2^19, so that of 2^10 blocks is exact in float, too. The largest k that is tried is that of a hundred such.
static void extremes_do_not_overflow(int64_t nb, bool is_exact) {
    for (const int weight : { 127, -127, -128 }) {
        for (const int value : { 127, -127 }) {
            weights                w(PANEL + 1, nb);
            std::vector<act_block> x(3 * nb);
            for (auto & block : w.blocks) {
                block.scale = 0x3c00;
                memset(block.qs, weight, sizeof(block.qs));
            }
            w.pack_all();
            for (auto & block : x) {
                block.scale = 1.0f;
                for (auto & q : block.qs) {
                    q = (activation) value;
                }
                set_start(block);
            }
            const double wanted = (double) weight * value * BLOCK * nb;
            const double error  = is_exact ? 0 : std::fabs(wanted) * nb * FLT_EPSILON / 2; // each sum is rounded once
            const auto   y      = product(w, x, 3, 1, 3);
            for (int64_t i = 0; i < (int64_t) y.size(); i++) {
                if (i % (w.n + 1) != w.n && !(std::fabs(y[i] - wanted) <= error)) {
                    fail("k %ld, weights %d, activations %d: %.1f instead of %.1f", (long) (nb * BLOCK), weight, value, y[i],
                         wanted);
                }
            }
        }
    }
}

static void check_block(const float * values, const act_block & block, const char * what) {
    float most = 0;
    bool  finite = true;
    for (int64_t i = 0; i < BLOCK; i++) {
        most   = std::max(most, std::fabs(values[i]));
        finite = finite && std::isfinite(values[i]);
    }
    int32_t sum = 0;
    for (const int q : block.qs) {
        if (q < -127 || q > 127) {
            fail("%s: a quantum of %d", what, q);
        }
        sum += q;
    }
    if (block.start != (FLIP ? -128 * sum : 0)) {
        fail("%s: the sum starts at %d, the quanta add up to %d", what, block.start, sum);
    }
    if (!finite) {
        if (!std::isnan(block.scale) || sum != 0) {
            fail("%s: no numbers, but a scale of %g", what, block.scale);
        }
        return;
    }
    const float scale = most / 127.0f >= FLT_MIN ? most / 127.0f : 0.0f;
    if (bits_of(block.scale) != bits_of(scale)) {
        fail("%s: a scale of %g instead of %g", what, block.scale, scale);
    }
    for (int64_t i = 0; i < BLOCK; i++) {
        const float wanted = scale > 0 ? std::nearbyint(values[i] * (1.0f / scale)) : 0;
        if ((float) block.qs[i] != wanted) {
            fail("%s: %g / %g became %d instead of %g", what, values[i], scale, (int) block.qs[i], wanted);
        }
    }
}

static void activations_are_rounded() {
    std::vector<float>     values(BLOCK * 64);
    std::vector<act_block> blocks(64);
    for (int round = 0; round < 200; round++) {
        const int exponent = (int) any(-150, 120);
        for (auto & value : values) {
            value = std::ldexp((float) any(-(1 << 24), 1 << 24), exponent - 24 + (int) any(-6, 0));
        }
        for (int i = 0; i < 8; i++) {
            const float odd[] = { 0.0f, -0.0f, NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MIN, 1e-45f };
            if (any(0, 3) == 0) {
                values[any(0, (int64_t) values.size() - 1)] = odd[i];
            }
        }
        quantize(values.data(), blocks.data(), (int64_t) values.size());
        for (int64_t b = 0; b < 64; b++) {
            check_block(values.data() + b * BLOCK, blocks[b], "random activations");
        }
    }
    // ties: with a scale of 1 halves go to the even side
    for (int64_t i = 0; i < BLOCK; i++) {
        values[i] = i == 0 ? 127.0f : (float) i - 16.5f;
    }
    quantize(values.data(), blocks.data(), BLOCK);
    check_block(values.data(), blocks[0], "ties");

    for (const float value : { 0.0f, -0.0f, 1e-45f, -FLT_MIN, FLT_MAX, -FLT_MAX, INFINITY, NAN }) {
        for (int64_t at = -1; at < BLOCK; at++) {
            for (int64_t i = 0; i < BLOCK; i++) {
                values[i] = at < 0 || i == at ? value : 0.25f;
            }
            quantize(values.data(), blocks.data(), BLOCK);
            check_block(values.data(), blocks[0], "one odd value");
        }
    }
}

// No number in, no number out, and only where it meets; scales of weights that are NaN or infinite likewise.
static void no_number_stays_none() {
    const int64_t n = 2 * PANEL + 3, nb = 3, m = 7;
    for (const uint16_t half : { (uint16_t) 0x7c00, (uint16_t) 0xfc00, (uint16_t) 0x7e00 }) {
        weights                w(n, nb);
        std::vector<act_block> x(m * nb);
        fill(w, true);
        fill(x, true);
        w.blocks[5 * nb + 1].scale = half;
        w.blocks[5 * nb + 1].qs[0] = 1;
        w.pack_all();

        float values[BLOCK] = { 1.0f, INFINITY, NAN };
        quantize(values, &x[4 * nb + 2], BLOCK);

        const auto y = product(w, x, m, w.packed.panels(), m);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t r = 0; r < n; r++) {
                const float value = y[i * (n + 1) + r];
                if (std::isfinite(value) != (i != 4 && r != 5)) {
                    fail("a scale of %04x: output (%ld, %ld) is %g", half, (long) i, (long) r, value);
                }
            }
        }
    }
}

static void packing_is_reversible(int64_t n, int64_t nb) {
    weights w(n, nb);
    fill(w, false);
    std::vector<weight_block> back(nb);
    std::vector<float>        values(nb * BLOCK);

    // again, row by row and in another order: the same bytes
    std::vector<uint8_t> packed(w.packed.base, w.packed.base + w.packed.panels() * PANEL * nb * sizeof(weight_block));
    memset(w.packed.base, 0x5a, packed.size());
    for (int64_t r = n; r-- > 0;) {
        pack(w.packed, w.blocks.data() + r * nb, r, r + 1);
    }
    if (memcmp(packed.data(), w.packed.base, packed.size()) != 0) {
        fail("n %ld k %ld: rows packed one by one differ", (long) n, (long) (nb * BLOCK));
    }

    for (int64_t r = 0; r < n; r++) {
        unpack(w.packed, back.data(), r, 0, nb);
        if (memcmp(back.data(), w.blocks.data() + r * nb, nb * sizeof(weight_block)) != 0) {
            fail("n %ld k %ld: row %ld doesn't come back", (long) n, (long) (nb * BLOCK), (long) r);
        }
        dequantize(w.packed, values.data(), r);
        for (int64_t i = 0; i < nb * BLOCK; i++) {
            const auto & block = w.blocks[r * nb + i / BLOCK];
            const float  value = half_value(block.scale) * block.qs[i % BLOCK];
            if (bits_of(values[i]) != bits_of(value)) {
                fail("n %ld: (%ld, %ld) is %g instead of %g", (long) n, (long) r, (long) i, values[i], value);
            }
        }
    }
}

int main(int argc, char ** argv) {
    rng.seed(argc > 1 ? (unsigned) strtoul(argv[1], nullptr, 10) : 1);

    activations_are_rounded();
    no_number_stays_none();
    extremes_do_not_overflow(1024, true);
    extremes_do_not_overflow(100 * 1024, false);

    int shapes = 0;
    for (const int64_t m : { 1, 2, 3, 4, 5, 6, 7, 12, 13, 31 }) {
        for (const int64_t n : { (int64_t) 1, (int64_t) 2, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL, 3 * PANEL - 5, 5 * PANEL }) {
            for (const int64_t nb : { 1, 2, 3, 18, 65 }) {
                integers_are_exact(m, n, nb);
                floats_are_close(m, n, nb);
                shapes++;
            }
        }
    }
    for (int i = 0; i < 30; i++, shapes++) {
        const int64_t m = any(1, 40), n = any(1, 100), nb = any(1, 40);
        integers_are_exact(m, n, nb);
        floats_are_close(m, n, nb);
        packing_is_reversible(n, nb);
    }
    printf("%s: %d shapes\n", name(), shapes);
    return 0;
}
