#pragma once

#include "ggml-backend.h"

// GGML internal header

// Where Q8_A8 weights lie in the machine's own layout. NULL on machines for which there are no kernels of our own.
ggml_backend_buffer_type_t ggml_backend_cpu_q8_a8_buffer_type(void);
