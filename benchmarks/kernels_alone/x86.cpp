// One core: the matrix product alone, activations' quantization included, against what the core's int8 instructions can
// do at best, measured in turns.
//   c++ -std=c++17 -O3 -march=native -I <tree>/ggml/src/ggml-cpu/q8-a8 x86.cpp <...>/kernels.cpp
//   ./a.out M N K ROUNDS MATRICES
// Prints: the kernels' name, then a line a round: GOP/s of the product, of the product without quantization, of the
// instructions (a multiplication and an addition are two operations), and GB/s of nothing but reading the weights. So
// many matrices are met in turn: more of them than caches hold make it memory's.

#include "kernels.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace ggml::cpu::q8_a8;

static double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// twelve sums that don't wait for each other, nothing loaded or stored
#if defined(Q8_A8_AVX512_VNNI)
#    define STEP(i) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #i "\n"
constexpr double OPERATIONS = 2 * 64;
#elif defined(Q8_A8_AVX_VNNI) && defined(__AVXVNNI__)
#    define STEP(i) "{vex} vpdpbusd %%ymm14, %%ymm15, %%ymm" #i "\n"
constexpr double OPERATIONS = 2 * 32;
#else
#    define STEP(i)                                  \
        "vpmaddubsw %%ymm14, %%ymm15, %%ymm13\n"     \
        "vpmaddwd %%ymm14, %%ymm13, %%ymm13\n"       \
        "vpaddd %%ymm13, %%ymm" #i ", %%ymm" #i "\n"
constexpr double OPERATIONS = 2 * 32;
#endif

static double peak() {
    const long count = 2000000;
    long       left  = count;
    const double start = seconds();
    __asm__ volatile(
        "1:\n" STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)
        "dec %0\n"
        "jnz 1b\n"
        : "+r"(left)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
          "xmm13", "xmm14", "xmm15");
    return 12 * OPERATIONS * count / (seconds() - start) / 1e9;
}

// one word of each line of memory
static double read_speed(const std::vector<matrix> & ws) {
    static volatile uint64_t sink;

    uint64_t     sum   = 0;
    size_t       bytes = 0;
    const double start = seconds();
    for (const auto & w : ws) {
        for (size_t i = 0; i < w.size(); i += 64) {
            uint64_t word;
            memcpy(&word, w.base + i, sizeof(word));
            sum += word;
        }
        bytes += w.size();
    }
    sink = sum;
    return (double) bytes / (seconds() - start) / 1e9;
}

int main(int argc, char ** argv) {
    if (argc != 6) {
        return 2;
    }
    const int64_t m = atoll(argv[1]), n = atoll(argv[2]), k = atoll(argv[3]), nb = k / BLOCK;

    std::vector<weight_block> blocks(n * nb);
    for (auto & block : blocks) {
        block.scale = 0x2000;
        for (auto & q : block.qs) {
            q = (int8_t) (rand() % 255 - 127);
        }
    }
    std::vector<matrix> ws(atoll(argv[5]));
    for (auto & w : ws) {
        w      = { nullptr, n, nb };
        w.base = (uint8_t *) std::aligned_alloc(64, w.size());
        pack(w, blocks.data(), 0, n);
    }

    std::vector<float> x(m * k), y(m * n);
    for (auto & value : x) {
        value = (float) rand() / RAND_MAX - 0.5f;
    }
    std::vector<act_block>         quantized(m * nb);
    std::vector<const act_block *> xs(m);
    std::vector<float *>           ys(m);
    for (int64_t i = 0; i < m; i++) {
        xs[i] = &quantized[i * nb];
        ys[i] = &y[i * n];
    }

    printf("%s\n", name());
    const double operations = 2.0 * (double) (m * n * k) * (double) ws.size() / 1e9;
    for (int round = 0; round <= atoi(argv[4]); round++) {
        double whole = 0, alone = 0;
        for (const auto & w : ws) {
            const double start = seconds();
            quantize(x.data(), quantized.data(), m * k);
            const double middle = seconds();
            multiply(w, 0, w.panels(), xs.data(), ys.data(), m);
            const double end = seconds();
            whole += end - start;
            alone += end - middle;
        }
        const double best = peak();
        const double read = read_speed(ws);
        if (round > 0) {
            printf("%.3f %.3f %.3f %.3f\n", operations / whole, operations / alone, best, read);
        }
    }
    for (const auto & w : ws) {
        free(w.base);
    }
    return 0;
}
