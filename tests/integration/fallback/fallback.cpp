// A pretended GPU that knows some types, as every real backend does, in ggml's own scheduler with the CPU
// behind it. A product with a type that it doesn't know has to be computed by the CPU, rightly; the others
// stay on the device.
#include "ggml-alloc.h"
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#include "ggml.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

static ggml_backend_t             cpu = nullptr;
static ggml_backend_buffer_type   device_buft;
static ggml_backend_device        device;
static bool                       knows_all = false;
static int                        computed[2]; // products on the device: of known types, of unknown ones

static bool knows(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_Q8_0:
            return true;
        default:
            return knows_all;
    }
}

static const char * name_of_device(ggml_backend_dev_t) { return "PRETENDED"; }
static const char * name_of_backend(ggml_backend_t) { return "PRETENDED"; }
static const char * name_of_buft(ggml_backend_buffer_type_t) { return "PRETENDED"; }
static bool is_host(ggml_backend_buffer_type_t) { return false; }
static void memory_of(ggml_backend_dev_t, size_t * free, size_t * total) { *free = *total = size_t(1) << 30; }
static enum ggml_backend_dev_type type_of(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; }
static ggml_backend_buffer_type_t buft_of(ggml_backend_dev_t) { return &device_buft; }
static bool takes_buft(ggml_backend_dev_t, ggml_backend_buffer_type_t buft) { return buft == &device_buft; }
static void free_backend(ggml_backend_t) {}

static bool takes_op(ggml_backend_dev_t, const ggml_tensor * op) {
    return op->op == GGML_OP_NONE || (op->op == GGML_OP_MUL_MAT && knows(op->src[0]->type));
}

static ggml_status compute(ggml_backend_t, ggml_cgraph * graph) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        ggml_tensor * node = ggml_graph_node(graph, i);
        if (node->op == GGML_OP_MUL_MAT) {
            computed[node->src[0]->type == GGML_TYPE_Q8_A8]++;
        }
        if (node->op == GGML_OP_MUL_MAT && node->src[0]->type == GGML_TYPE_Q8_A8) {
            memset(node->data, 0x7f, ggml_nbytes(node)); // what a kernel for another layout would leave
        } else {
            ggml_cgraph one = ggml_graph_view(graph, i, i + 1);
            ggml_backend_graph_compute(cpu, &one);
        }
    }
    return GGML_STATUS_SUCCESS;
}

int main() {
    cpu = ggml_backend_cpu_init();
    memset(&device, 0, sizeof(device));
    device.iface.get_name        = name_of_device;
    device.iface.get_description = name_of_device;
    device.iface.get_memory      = memory_of;
    device.iface.get_type        = type_of;
    device.iface.get_buffer_type = buft_of;
    device.iface.supports_op     = takes_op;
    device.iface.supports_buft   = takes_buft;
    device_buft                  = *ggml_backend_cpu_buffer_type();
    device_buft.iface.get_name   = name_of_buft;
    device_buft.iface.is_host    = is_host;
    device_buft.device           = &device;
    ggml_backend pretended;
    memset(&pretended, 0, sizeof(pretended));
    pretended.iface.get_name      = name_of_backend;
    pretended.iface.free          = free_backend;
    pretended.iface.graph_compute = compute;
    pretended.device              = &device;

    const int rows = 96, columns = 128, tokens = 5;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> weights(rows*columns), input(columns*tokens);
    for (float & w : weights) { w = normal(random); }
    for (float & x : input) { x = normal(random); }

    std::vector<float> results[2];
    for (int pass = 0; pass < 2; pass++) { // types known, then claimed to be known
        knows_all = pass == 1;
        computed[0] = computed[1] = 0;
        ggml_init_params params = { 16*ggml_tensor_overhead(), nullptr, true };
        ggml_context * model = ggml_init(params);
        ggml_tensor * known   = ggml_new_tensor_2d(model, GGML_TYPE_Q8_0, columns, rows);
        ggml_tensor * unknown = ggml_new_tensor_2d(model, GGML_TYPE_Q8_A8, columns, rows);
        ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(model, &device_buft);
        ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        ggml_quantize_chunk(GGML_TYPE_Q8_0, weights.data(), known->data, 0, rows, columns, nullptr);
        ggml_quantize_chunk(GGML_TYPE_Q8_A8, weights.data(), unknown->data, 0, rows, columns, nullptr);

        ggml_init_params graph_params = { 64*ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true };
        ggml_context * ctx = ggml_init(graph_params);
        ggml_tensor * x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, columns, tokens);
        ggml_set_input(x);
        ggml_tensor * a = ggml_mul_mat(ctx, known, x);
        ggml_tensor * b = ggml_mul_mat(ctx, unknown, x);
        ggml_set_output(a);
        ggml_set_output(b);
        ggml_cgraph * graph = ggml_new_graph(ctx);
        ggml_build_forward_expand(graph, a);
        ggml_build_forward_expand(graph, b);

        ggml_backend_t backends[2] = { &pretended, cpu };
        ggml_backend_sched_t sched = ggml_backend_sched_new(backends, nullptr, 2, GGML_DEFAULT_GRAPH_SIZE, false, true);
        if (!ggml_backend_sched_alloc_graph(sched, graph)) { return 2; }
        ggml_backend_tensor_set(x, input.data(), 0, ggml_nbytes(x));
        if (ggml_backend_sched_graph_compute(sched, graph) != GGML_STATUS_SUCCESS) { return 3; }
        std::vector<float> from_known(rows*tokens), from_unknown(rows*tokens);
        ggml_backend_tensor_get(a, from_known.data(), 0, ggml_nbytes(a));
        ggml_backend_tensor_get(b, from_unknown.data(), 0, ggml_nbytes(b));
        double worst = 0;
        for (int i = 0; i < rows*tokens; i++) {
            // the two types' blocks hold the same numbers: so must the products, but for rounding
            worst = std::fmax(worst, std::isfinite(from_unknown[i]) ? std::fabs(from_known[i] - from_unknown[i]) : 1e30);
        }
        printf("%s: device computed %d known, %d unknown, difference %g\n", pass ? "claimed" : "honest",
               computed[0], computed[1], worst);
        ggml_backend_sched_free(sched);
        ggml_backend_buffer_free(buffer);
        ggml_free(ctx);
        ggml_free(model);
    }
    ggml_backend_free(cpu);
    return 0;
}
