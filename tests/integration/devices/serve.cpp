// An RPC server on one CPU device: serve HOST:PORT. Its backend is linked in, whatever else the libraries know of RPC.

#include "ggml-backend.h"
#include "ggml-rpc.h"

int main(int, char ** argv) {
    ggml_backend_load_all();
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_rpc_start_server(argv[1], nullptr, 2, 1, &device);
}
