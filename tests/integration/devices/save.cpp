// Loads a model as any program does, and saves it: save IN.gguf OUT.gguf

#include "llama.h"

int main(int, char ** argv) {
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr) {
        return 1;
    }
    llama_model_save_to_file(model, argv[2]);
    llama_model_free(model);
    llama_backend_free();
}
