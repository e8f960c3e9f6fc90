// Attention of prompts as the CPU computes it, over shapes that fill tiles and that don't: prints every output's bits as one
// hash for each shape, so that two libraries can be compared. Argument: the seed.

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

int main(int, char ** argv) {
    std::mt19937                    rng((unsigned) strtoul(argv[1], nullptr, 10));
    std::normal_distribution<float> normal;

    struct shape {
        int64_t dk, n, kv, heads, kv_heads;
        float   bias;
        int64_t past; // tokens of the cache that the first token sees
    };

    for (const shape s : { shape{ 64, 128, 256, 9, 3, 0.0f, 100 }, shape{ 64, 130, 517, 4, 2, 0.0f, 380 }, shape{ 80, 64, 192, 2, 2, 8.0f, 90 },
                           shape{ 40, 96, 64, 2, 1, 0.0f, 0 }, shape{ 36, 64, 128, 2, 1, 0.0f, 64 } }) {
        ggml_init_params params = { ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr, true };
        ggml_context *   ctx    = ggml_init(params);
        ggml_tensor *    q      = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, s.dk, s.n, s.heads);
        ggml_tensor *    k      = ggml_new_tensor_3d(ctx, GGML_TYPE_F16, s.dk, s.kv, s.kv_heads);
        ggml_tensor *    v      = ggml_new_tensor_3d(ctx, GGML_TYPE_F16, s.dk, s.kv, s.kv_heads);
        ggml_tensor *    mask   = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, s.kv, (s.n + 63) / 64 * 64);
        ggml_tensor *    y      = ggml_flash_attn_ext(ctx, q, k, v, mask, 1.0f / std::sqrt((float) s.dk), s.bias, 0.0f);
        ggml_backend_t   cpu    = ggml_backend_cpu_init();
        ggml_backend_cpu_set_n_threads(cpu, 2);
        ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, cpu);

        for (ggml_tensor * t : { q, k, v }) {
            std::vector<float> values(ggml_nelements(t));
            for (float & value : values) {
                value = normal(rng);
            }
            std::vector<ggml_fp16_t> halves(values.size());
            ggml_fp32_to_fp16_row(values.data(), halves.data(), (int64_t) values.size());
            ggml_backend_tensor_set(t, t->type == GGML_TYPE_F32 ? (void *) values.data() : (void *) halves.data(), 0, ggml_nbytes(t));
        }
        std::vector<ggml_fp16_t> seen(ggml_nelements(mask));
        for (int64_t i = 0; i < mask->ne[1]; i++) {
            for (int64_t j = 0; j < s.kv; j++) {
                seen[i * s.kv + j] = ggml_fp32_to_fp16(j <= s.past + i ? (s.bias > 0 ? -0.1f * (float) (s.past + i - j) : 0.0f) : -INFINITY);
            }
        }
        ggml_backend_tensor_set(mask, seen.data(), 0, ggml_nbytes(mask));

        ggml_cgraph * graph = ggml_new_graph(ctx);
        ggml_build_forward_expand(graph, y);
        if (ggml_backend_graph_compute(cpu, graph) != GGML_STATUS_SUCCESS) {
            return 1;
        }
        std::vector<unsigned char> out(ggml_nbytes(y));
        ggml_backend_tensor_get(y, out.data(), 0, out.size());
        uint64_t hash  = 1469598103934665603u;
        double   total = 0;
        for (const unsigned char byte : out) {
            hash = (hash ^ byte) * 1099511628211u;
        }
        for (size_t i = 0; i < out.size() / sizeof(float); i++) {
            total += ((float *) out.data())[i];
        }
        if (!std::isfinite(total)) {
            return 2;
        }
        printf("%ld %ld %ld: %016llx\n", (long) s.dk, (long) s.n, (long) s.kv, (unsigned long long) hash);
        ggml_backend_buffer_free(buffer);
        ggml_backend_free(cpu);
        ggml_free(ctx);
    }
}
