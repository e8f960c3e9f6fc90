// Calls one type of one tree's libggml-base and libggml-cpu, and writes down all that comes back.
//
//   harness facts INPUT OUTPUT           what the type is
//   harness rows INPUT OUTPUT            quantize, dequantize and multiply the rows of INPUT
//   harness bytes INPUT OUTPUT           take INPUT as blocks, whatever is in them
//   harness op:NAME INPUT OUTPUT         the operator NAME, by way of a graph of the CPU backend
//   harness write INPUT OUTPUT FILE      a GGUF file with a tensor of the type
//   harness read INPUT OUTPUT FILE       what that file holds
//
// INPUT is floats: the first half are weights, the second activations. OUTPUT is records: a line of the name, the
// kind of its numbers (u8, f32, text) and their bytes, then those. Compiled with -DTYPE=GGML_TYPE_X for each tree,
// against that tree's own headers.
#include "ggml.h"
#include "ggml-cpu.h"
#if defined(__has_include) && __has_include("gguf.h")
#include "gguf.h"
#endif

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define ROWS 8 // of a matrix, at most

static FILE * output;
static float * weights, * activations;
static size_t count; // floats of each

static void fail(const char * what) {
    fprintf(stderr, "harness: %s\n", what);
    exit(3);
}

static void * room(size_t bytes) {
    void * data = calloc(1, bytes + 64);
    if (!data) {
        fail("no memory");
    }
    return data;
}

static void record(const char * name, const char * kind, const void * data, size_t bytes) {
    if (fprintf(output, "%s %s %zu\n", name, kind, bytes) < 0 || fwrite(data, 1, bytes, output) != bytes
        || fflush(output)) { // what comes after it may end the program
        fail("can't write the output");
    }
}

static void said(const char * name, const char * form, ...) {
    char text[512];
    va_list values;
    va_start(values, form);
    vsnprintf(text, sizeof(text), form, values);
    va_end(values);
    record(name, "text", text, strlen(text));
}

// A function that reads what nobody wrote reads the same in both trees: upstream's IQ4_NL does, for rows of zeros.
__attribute__((noinline)) static void same_stack(void) {
    volatile char below[1 << 16];
    for (size_t i = 0; i < sizeof(below); ++i) {
        below[i] = 0x5A;
    }
}

static int64_t common_multiple(int64_t a, int64_t b) {
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a/x*b;
}

static int64_t shortest(const struct ggml_type_traits_cpu * cpu) {
    int64_t partner = cpu->vec_dot ? ggml_blck_size(cpu->vec_dot_type) : 1;
    return common_multiple(ggml_blck_size(TYPE), partner);
}

static float * importance(int64_t n) {
    float * values = room(n*sizeof(float));
    for (int64_t i = 0; i < n; ++i) {
        values[i] = activations[i]*activations[i] + 0.01f;
    }
    return values;
}

static void facts(void) {
    const struct ggml_type_traits * base = ggml_get_type_traits(TYPE);
    const struct ggml_type_traits_cpu * cpu = ggml_get_type_traits_cpu(TYPE);
    said("facts.number", "%d", (int) TYPE);
    said("facts.name", "%s", ggml_type_name(TYPE));
    said("facts.block", "%lld weights in %zu bytes", (long long) ggml_blck_size(TYPE), ggml_type_size(TYPE));
    said("facts.quantized", "%d", ggml_is_quantized(TYPE));
    said("facts.requires-imatrix", "%d", ggml_quantize_requires_imatrix(TYPE));
    said("facts.functions", "%s%s%s%s", base->to_float ? "to_float " : "", base->from_float_ref ? "from_float_ref " : "",
         cpu->from_float ? "from_float " : "", cpu->vec_dot ? "vec_dot" : "");
    said("facts.partner", "%s, %lld rows at once", cpu->vec_dot ? ggml_type_name(cpu->vec_dot_type) : "none",
         (long long) cpu->nrows);
}

// the bytes of one row of activations, as vec_dot takes them
static void * partner_row(const struct ggml_type_traits_cpu * cpu, const float * from, int64_t n, size_t * bytes) {
    *bytes = ggml_row_size(cpu->vec_dot_type, n);
    void * to = room(*bytes);
    if (cpu->vec_dot_type == GGML_TYPE_F32) {
        memcpy(to, from, *bytes);
    } else if (ggml_get_type_traits_cpu(cpu->vec_dot_type)->from_float) {
        ggml_get_type_traits_cpu(cpu->vec_dot_type)->from_float(from, to, n);
    } else {
        ggml_get_type_traits(cpu->vec_dot_type)->from_float_ref(from, to, n);
    }
    return to;
}

static void products(const char * name, const char * blocks, int64_t n, int64_t rows) {
    const struct ggml_type_traits_cpu * cpu = ggml_get_type_traits_cpu(TYPE);
    if (!cpu->vec_dot) {
        return;
    }
    const size_t row = ggml_row_size(TYPE, n);
    size_t other = 0;
    char label[64];
    char * partners = room(rows*ggml_row_size(cpu->vec_dot_type, n));
    for (int64_t i = 0; i < rows; ++i) {
        void * one = partner_row(cpu, activations + i*n, n, &other);
        memcpy(partners + i*other, one, other);
        free(one);
    }
    snprintf(label, sizeof(label), "activations.%lld", (long long) n);
    record(label, "u8", partners, rows*other);

    float * dots = room(rows*rows*sizeof(float));
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < rows; ++j) {
            same_stack();
            cpu->vec_dot(n, dots + i*rows + j, 0, blocks + i*row, 0, partners + j*other, 0, 1);
        }
    }
    snprintf(label, sizeof(label), "%s.%lld", name, (long long) n);
    record(label, "f32", dots, rows*rows*sizeof(float));
    for (int64_t i = 0; cpu->nrows == 2 && i + 1 < rows; i += 2) {
        float four[4] = {0};
        same_stack();
        cpu->vec_dot(n, four, 2, blocks + i*row, row, partners + i*other, other, 2);
        snprintf(label, sizeof(label), "%s-pair.%lld.%lld", name, (long long) n, (long long) i);
        record(label, "f32", four, sizeof(four));
    }
    free(partners);
    free(dots);
}

static void dequantized(const char * name, const void * blocks, int64_t n, int64_t rows) {
    const struct ggml_type_traits * base = ggml_get_type_traits(TYPE);
    if (base->to_float) {
        char label[64];
        float * back = room(rows*n*sizeof(float));
        for (int64_t i = 0; i < rows; ++i) {
            same_stack();
            base->to_float((const char *) blocks + i*ggml_row_size(TYPE, n), back + i*n, n);
        }
        snprintf(label, sizeof(label), "%s.%lld", name, (long long) n);
        record(label, "f32", back, rows*n*sizeof(float));
        free(back);
    }
}

static void by(const char * name, ggml_from_float_t function, void * blocks, int64_t n, int64_t rows) {
    if (function) {
        char label[64];
        memset(blocks, 0, rows*ggml_row_size(TYPE, n));
        for (int64_t i = 0; i < rows; ++i) {
            same_stack();
            function(weights + i*n, (char *) blocks + i*ggml_row_size(TYPE, n), n);
        }
        snprintf(label, sizeof(label), "%s.%lld", name, (long long) n);
        record(label, "u8", blocks, rows*ggml_row_size(TYPE, n));
    }
}

static int64_t rows_of(int64_t n) {
    const int64_t fit = (int64_t) count/n;
    return fit < ROWS ? fit : ROWS;
}

static void all_rows(void) {
    static const int lengths[] = {1, 2, 3, 5, 8, 17}; // in blocks: whole vectors, and what is left of them
    const struct ggml_type_traits_cpu * cpu = ggml_get_type_traits_cpu(TYPE);
    const int64_t unit = shortest(cpu);
    char label[64];
    for (size_t k = 0; k < sizeof(lengths)/sizeof(*lengths); ++k) {
        const int64_t n = lengths[k]*unit, rows = rows_of(n);
        if (rows < 1) {
            break;
        }
        const size_t size = rows*ggml_row_size(TYPE, n);
        char * blocks = room(size);
        by("quantize-reference", ggml_get_type_traits(TYPE)->from_float_ref, blocks, n, rows);
        by("quantize-cpu", cpu->from_float, blocks, n, rows);
        float * weigh = importance(n);
        memset(blocks, 0, size);
        same_stack();
        ggml_quantize_chunk(TYPE, weights, blocks, 0, rows, n, weigh);
        snprintf(label, sizeof(label), "quantize-imatrix.%lld", (long long) n);
        record(label, "u8", blocks, size);
        if (!ggml_quantize_requires_imatrix(TYPE)) {
            memset(blocks, 0, size);
            same_stack();
            ggml_quantize_chunk(TYPE, weights, blocks, 0, rows, n, NULL);
            snprintf(label, sizeof(label), "quantize.%lld", (long long) n);
            record(label, "u8", blocks, size);
        }
        dequantized("dequantize", blocks, n, rows);
        products("vec_dot", blocks, n, rows);
        snprintf(label, sizeof(label), "valid.%lld", (long long) n);
        said(label, "%d", ggml_validate_row_data(TYPE, blocks, size));
        free(weigh);
        free(blocks);
    }
}

static void all_bytes(void) {
    const int64_t n = shortest(ggml_get_type_traits_cpu(TYPE));
    const size_t row = ggml_row_size(TYPE, n);
    int64_t rows = (int64_t) (count*sizeof(float)/row);
    rows = rows < 64 ? rows : 64;
    dequantized("dequantize", weights, n, rows);
    for (int64_t i = 0; i < rows; ++i) {
        char label[64];
        snprintf(label, sizeof(label), "valid.%lld", (long long) i);
        said(label, "%d", ggml_validate_row_data(TYPE, (char *) weights + i*row, row));
    }
    products("vec_dot", (char *) weights, n, rows_of(n) < rows ? rows_of(n) : rows);
}

static struct ggml_context * context(void) {
    struct ggml_init_params parameters = {.mem_size = 256u << 20, .mem_buffer = NULL, .no_alloc = false};
    struct ggml_context * made = ggml_init(parameters);
    if (!made) {
        fail("no context");
    }
    return made;
}

static struct ggml_tensor * matrix(struct ggml_context * into, int64_t n, int64_t rows) {
    struct ggml_tensor * tensor = ggml_new_tensor_2d(into, TYPE, n, rows);
    float * weigh = importance(n);
    ggml_quantize_chunk(TYPE, weights, tensor->data, 0, rows, n, weigh);
    free(weigh);
    return tensor;
}

static struct ggml_tensor * floats(struct ggml_context * into, int64_t n, int64_t rows) {
    struct ggml_tensor * tensor = ggml_new_tensor_2d(into, GGML_TYPE_F32, n, rows);
    memcpy(tensor->data, activations, n*rows*sizeof(float));
    return tensor;
}

static void operator_(const char * name) {
    struct ggml_context * into = context();
    const int64_t n = 4*shortest(ggml_get_type_traits_cpu(TYPE)), rows = 4;
    if ((int64_t) count < n*rows) {
        fail("too few numbers in the input");
    }
    struct ggml_tensor * a = matrix(into, n, rows), * result = NULL;
    struct ggml_tensor * ids = ggml_new_tensor_1d(into, GGML_TYPE_I32, 2);
    ((int32_t *) ids->data)[0] = 2;
    ((int32_t *) ids->data)[1] = 0;
    if (!strcmp(name, "mul_mat")) {
        result = ggml_mul_mat(into, a, floats(into, n, 3));
    } else if (!strcmp(name, "mul_mat_id")) {
        struct ggml_tensor * experts = ggml_new_tensor_3d(into, TYPE, n, 2, 3);
        float * weigh = importance(n);
        ggml_quantize_chunk(TYPE, weights, experts->data, 0, 6 < (int64_t) count/n ? 6 : rows, n, weigh);
        free(weigh);
        struct ggml_tensor * both = ggml_new_tensor_2d(into, GGML_TYPE_I32, 2, 1);
        memcpy(both->data, ids->data, 2*sizeof(int32_t));
        result = ggml_mul_mat_id(into, experts, ggml_reshape_3d(into, floats(into, n, 2), n, 2, 1), both);
    } else if (!strcmp(name, "get_rows")) {
        result = ggml_get_rows(into, a, ids);
    } else if (!strcmp(name, "cpy")) {
        result = ggml_cpy(into, floats(into, n, rows), ggml_new_tensor_2d(into, TYPE, n, rows));
    } else if (!strcmp(name, "cpy_back")) {
        result = ggml_cpy(into, a, ggml_new_tensor_2d(into, GGML_TYPE_F32, n, rows));
    } else if (!strcmp(name, "add")) {
        result = ggml_add(into, a, floats(into, n, rows));
    } else if (!strcmp(name, "out_prod")) {
        result = ggml_out_prod(into, a, floats(into, 3, rows));
    } else {
        fail("no such operator");
    }
    struct ggml_cgraph * graph = ggml_new_graph(into);
    ggml_build_forward_expand(graph, result);
    if (ggml_graph_compute_with_ctx(into, graph, 1) != GGML_STATUS_SUCCESS) {
        fail("the graph wasn't computed");
    }
    record(name, result->type == GGML_TYPE_F32 ? "f32" : "u8", result->data, ggml_nbytes(result));
    ggml_free(into);
}

static void write_file(const char * path) {
    struct ggml_context * into = context();
    const int64_t n = 4*shortest(ggml_get_type_traits_cpu(TYPE));
    struct ggml_tensor * tensor = matrix(into, n, 4);
    ggml_set_name(tensor, "blk.0.ffn_up.weight");
    struct gguf_context * file = gguf_init_empty();
    gguf_set_val_str(file, "general.architecture", "llama");
    gguf_add_tensor(file, tensor);
    gguf_write_to_file(file, path, false);
    gguf_free(file);
    record("tensor", "u8", tensor->data, ggml_nbytes(tensor));
    dequantized("weights", tensor->data, n, 4);
    ggml_free(into);
}

static void read_file(const char * path) {
    struct ggml_context * into = NULL;
    struct gguf_init_params parameters = {.no_alloc = false, .ctx = &into};
    struct gguf_context * file = gguf_init_from_file(path, parameters);
    if (!file) {
        fail("gguf_init_from_file can't read the file");
    }
    struct ggml_tensor * tensor = ggml_get_tensor(into, "blk.0.ffn_up.weight");
    if (!tensor || tensor->type != TYPE) {
        fail(tensor ? "the tensor is of another type" : "the tensor is missing");
    }
    record("tensor", "u8", tensor->data, ggml_nbytes(tensor));
    dequantized("weights", tensor->data, tensor->ne[0], tensor->ne[1]);
    gguf_free(file);
    ggml_free(into);
}

int main(int argc, char ** argv) {
    if (argc < 4) {
        fail("looked for WHAT INPUT OUTPUT [FILE]");
    }
    FILE * input = fopen(argv[2], "rb");
    output = fopen(argv[3], "wb");
    if (!input || !output || fseek(input, 0, SEEK_END)) {
        fail("can't open the input or the output");
    }
    count = (size_t) ftell(input)/(2*sizeof(float));
    rewind(input);
    weights     = room(count*sizeof(float));
    activations = room(count*sizeof(float));
    if (fread(weights, sizeof(float), count, input) != count || fread(activations, sizeof(float), count, input) != count) {
        fail("can't read the input");
    }
    fclose(input);
#ifdef M_PERTURB
    mallopt(M_PERTURB, 0x5A); // as the stack
#endif
    ggml_free(context()); // fills the tables of the base
    ggml_cpu_init();
    ggml_quantize_init(TYPE);
    facts();
    if (!strcmp(argv[1], "facts")) {
        ; // which every call begins with
    } else if (!strcmp(argv[1], "rows")) {
        all_rows();
    } else if (!strcmp(argv[1], "bytes")) {
        all_bytes();
    } else if (!strncmp(argv[1], "op:", 3)) {
        operator_(argv[1] + 3);
    } else if (!strcmp(argv[1], "write") && argc > 4) {
        write_file(argv[4]);
    } else if (!strcmp(argv[1], "read") && argc > 4) {
        read_file(argv[4]);
    } else {
        fail("no such thing to do");
    }
    if (fclose(output)) {
        fail("can't write the output");
    }
    return 0;
}
