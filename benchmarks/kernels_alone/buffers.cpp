// One matrix product of Q8_0 weights by the buffer type of a name, as a model's loader and ggml's CPU backend do it:
//   buffers BUFFER M N K ROUNDS [WEIGHTS ACTIVATIONS]
// The files have N x K and M x K floats, without them the numbers are made up. To stdout goes the root of the mean square
// of the product's error against that of the floats, divided by that of the product itself. The difference of the
// instructions of two counts of rounds, divided by the difference of rounds, has no start and no packing in it.

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

static std::vector<float> numbers(size_t count, unsigned seed, const char * path) {
    std::vector<float> values(count);
    if (path) {
        FILE * file = fopen(path, "rb");
        if (!file || fread(values.data(), sizeof(float), count, file) != count) {
            fprintf(stderr, "%s: not so many floats\n", path);
            exit(2);
        }
        fclose(file);
        return values;
    }
    std::mt19937                    random(seed);
    std::normal_distribution<float> normal;
    for (auto & value : values) {
        value = normal(random);
    }
    return values;
}

static ggml_backend_buffer_type_t buffer_type_of(const char * name) {
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (strcmp(name, "CPU") == 0) {
        return ggml_backend_dev_buffer_type(dev);
    }
    auto * all = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev),
                                                                                        "ggml_backend_dev_get_extra_bufts");
    for (ggml_backend_buffer_type_t * type = all(dev); *type; type++) {
        if (strcmp(ggml_backend_buft_name(*type), name) == 0) {
            return *type;
        }
    }
    fprintf(stderr, "%s: no such buffer type here\n", name);
    exit(2);
}

int main(int argc, char ** argv) {
    if (argc != 6 && argc != 8) {
        return 2;
    }
    const int64_t m      = atoll(argv[2]);
    const int64_t n      = atoll(argv[3]);
    const int64_t k      = atoll(argv[4]);
    const int     rounds = atoi(argv[5]);

    const auto weights = numbers(n * k, 1, argc == 8 ? argv[6] : nullptr);
    const auto inputs  = numbers(m * k, 2, argc == 8 ? argv[7] : nullptr);

    ggml_init_params params = { 16 * ggml_tensor_overhead() + 2 * ggml_graph_overhead(), nullptr, true };
    ggml_context *   of_weights = ggml_init(params);
    ggml_context *   of_others  = ggml_init(params);
    ggml_backend_t   backend    = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
    ggml_backend_cpu_set_n_threads(backend, 1);

    ggml_tensor *       w       = ggml_new_tensor_2d(of_weights, GGML_TYPE_Q8_0, k, n);
    ggml_tensor *       x       = ggml_new_tensor_2d(of_others, GGML_TYPE_F32, k, m);
    ggml_tensor *       y       = ggml_mul_mat(of_others, w, x);
    ggml_backend_buffer * packed = ggml_backend_alloc_ctx_tensors_from_buft(of_weights, buffer_type_of(argv[1]));
    ggml_backend_buffer * plain  = ggml_backend_alloc_ctx_tensors(of_others, backend);
    ggml_backend_buffer_set_usage(packed, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);

    std::vector<char> blocks(ggml_nbytes(w));
    ggml_quantize_chunk(GGML_TYPE_Q8_0, weights.data(), blocks.data(), 0, n, k, nullptr);
    ggml_backend_tensor_set(w, blocks.data(), 0, blocks.size());
    ggml_backend_tensor_set(x, inputs.data(), 0, ggml_nbytes(x));

    ggml_cgraph * graph = ggml_new_graph(of_others);
    ggml_build_forward_expand(graph, y);
    for (int round = 0; round < rounds; round++) {
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
            return 1;
        }
    }

    std::vector<float> outputs(m * n);
    ggml_backend_tensor_get(y, outputs.data(), 0, ggml_nbytes(y));
    double error = 0, all = 0;
    for (int64_t i = 0; i < m; i += argc == 8 ? 1 : 31) { // a few of the rows where only their sense is of interest
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (double) weights[j * k + l] * inputs[i * k + l];
            }
            error += (outputs[i * n + j] - sum) * (outputs[i * n + j] - sum);
            all += sum * sum;
        }
    }
    printf("%.6f\n", std::sqrt(error / all));

    ggml_backend_buffer_free(packed);
    ggml_backend_buffer_free(plain);
    ggml_backend_free(backend);
    ggml_free(of_weights);
    ggml_free(of_others);
    return 0;
}
