// A stand-in for KleidiAI's buffer type: it says what it would compute as the real one does, and computes nothing.
// Its kernels for Q8_0 are those that the environment variable KLEIDIAI_STUB lets it have: none, where it is "none".

#include "kleidiai/kleidiai.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#include "traits.h"

#include <cstdlib>
#include <cstring>

namespace {

struct stub : ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        const char * kernels = getenv("KLEIDIAI_STUB");
        return op->op == GGML_OP_MUL_MAT && op->src[0]->buffer && op->src[0]->buffer->buft->context == this &&
               op->src[0]->type == GGML_TYPE_Q8_0 && ggml_n_dims(op->src[0]) == 2 &&
               op->src[1]->type == GGML_TYPE_F32 && op->src[1]->ne[3] == 1 &&
               !(kernels && strcmp(kernels, "none") == 0);
    }

    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor *) override { return nullptr; }
};

} // namespace

ggml_backend_buffer_type_t ggml_backend_cpu_kleidiai_buffer_type(void) {
    static stub                     context;
    static ggml_backend_buffer_type type = { {}, ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0), &context };
    return &type;
}
