// The matrix product of a prompt, by our kernels or by upstream's for Q8_0, to count the instructions of:
//   arm ours|upstream M N K ROUNDS
// Both quantize the activations and multiply them, as many rounds as asked for; the difference of two counts, divided by
// the difference of rounds, has no start and no packing in it.

#include "kernels.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace ggml::cpu::q8_a8;

extern "C" {
void ggml_quantize_mat_q8_0_4x8(const float * x, void * vy, int64_t k);
void ggml_gemm_q8_0_4x8_q8_0(int n, float * s, size_t bs, const void * vx, const void * vy, int nr, int nc);
}

int main(int argc, char ** argv) {
    if (argc != 6) {
        return 2;
    }
    const bool    ours   = strcmp(argv[1], "ours") == 0;
    const int64_t m      = atoll(argv[2]);
    const int64_t n      = atoll(argv[3]);
    const int64_t k      = atoll(argv[4]);
    const int     rounds = atoi(argv[5]);
    const int64_t nb     = k / BLOCK;

    std::vector<float> x(m * k), y(m * n);
    for (int64_t i = 0; i < m * k; i++) {
        x[i] = (float) (i % 251) - 125;
    }

    std::vector<weight_block> blocks(n * nb); // upstream's packed blocks have as many bytes; which ones doesn't matter
    for (auto & block : blocks) {
        block.scale = 0x3c00;
        memset(block.qs, 3, sizeof(block.qs));
    }
    matrix w = { nullptr, n, nb };
    w.base   = (uint8_t *) std::aligned_alloc(64, w.size());
    pack(w, blocks.data(), 0, n);

    std::vector<act_block>         quantized(m * nb);
    std::vector<weight_block>      theirs(m * nb);
    std::vector<const act_block *> xs(m);
    std::vector<float *>           ys(m);
    for (int64_t i = 0; i < m; i++) {
        xs[i] = &quantized[i * nb];
        ys[i] = &y[i * n];
    }

    for (int round = 0; round < rounds; round++) {
        if (ours) {
            quantize(x.data(), quantized.data(), m * k);
            multiply(w, 0, w.panels(), xs.data(), ys.data(), m);
        } else {
            for (int64_t i = 0; i < m; i += 4) {
                ggml_quantize_mat_q8_0_4x8(&x[i * k], &theirs[i * nb], k);
            }
            ggml_gemm_q8_0_4x8_q8_0((int) k, y.data(), n, blocks.data(), theirs.data(), (int) m, (int) n);
        }
    }
    double sum = 0;
    for (const float value : y) {
        sum += value;
    }
    printf("%g\n", sum);
    free(w.base);
    return 0;
}
