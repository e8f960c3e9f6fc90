// Which weights our buffer type leaves to KleidiAI's, as llama.cpp's loader asks: a line for each that it would take.
//   c++ -std=c++17 -O2 -I <tree>/ggml/include test_kleidiai.cpp -L <build>/bin -lggml -lggml-base

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <cstdio>
#include <cstring>
#include <initializer_list>

static ggml_backend_buffer_type_t ours(ggml_backend_dev_t dev) {
    auto get = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev),
                                                                                      "ggml_backend_dev_get_extra_bufts");
    for (auto * type = get(dev); *type; type++) {
        if (strcmp(ggml_backend_buft_name(*type), "CPU_Q8_A8") == 0) {
            return *type;
        }
    }
    return nullptr;
}

int main() {
    ggml_backend_dev_t         dev    = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_buffer_type_t type   = ours(dev);
    ggml_backend_buffer_t      buffer = type ? ggml_backend_buft_alloc_buffer(type, 0) : nullptr;
    if (!buffer) {
        return 77;
    }
    ggml_context * ctx = ggml_init({ 64 * ggml_tensor_overhead(), nullptr, true });

    for (const int32_t number : { 0, 120 }) { // of the type in the file, where it is another than Q8_0
        ggml_tensor * matrix  = ggml_new_tensor_2d(ctx, GGML_TYPE_Q8_0, 64, 16);
        ggml_tensor * experts = ggml_new_tensor_3d(ctx, GGML_TYPE_Q8_0, 64, 16, 4);
        ggml_tensor * input   = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 64, 1, 3);
        ggml_tensor * rows    = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, 3);
        ggml_tensor * used    = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, 2, 3);
        for (ggml_tensor * weight : { matrix, experts }) {
            weight->buffer       = buffer;
            weight->op_params[0] = number;
        }
        for (ggml_tensor * op : { ggml_mul_mat(ctx, matrix, input), ggml_get_rows(ctx, matrix, rows), ggml_cont(ctx, matrix),
                                  ggml_mul_mat_id(ctx, experts, input, used) }) {
            if (ggml_backend_dev_supports_op(dev, op)) {
                printf("%d %s\n", number, ggml_op_name(op->op));
            }
        }
    }
    ggml_free(ctx);
    ggml_backend_buffer_free(buffer);
    return 0;
}
