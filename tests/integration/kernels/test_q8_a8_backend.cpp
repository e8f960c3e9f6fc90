// The buffer type as llama.cpp meets it, through ggml's public interface:
//   c++ -std=c++17 -O2 -I <tree>/ggml/include test_q8_a8_backend.cpp -L <build>/bin -lggml -lggml-base [-lggml-cpu]
// MUL_MAT, MUL_MAT_ID and GET_ROWS of packed weights against sums in exact integers, for 1 to 16 threads; tensors set and
// got in parts; pages of a mapped file given back, and of nobody else; inputs that are no numbers; views that are part of what is packed, and every operator that must not be
// computed with it. Exit code 0: all held; 1: the first that didn't is named; 77: this machine's
// build has no such buffer type. Argument: the seed.

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <cerrno>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static std::mt19937 rng;

[[noreturn]] static void fail(const char * format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static int64_t any(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(rng);
}

static std::vector<float> random_floats(int64_t n) {
    std::normal_distribution<float> normal;
    std::vector<float>              values(n);
    for (auto & value : values) {
        value = normal(rng);
    }
    return values;
}

static std::vector<char> quantized(ggml_type type, const std::vector<float> & values, int64_t k) {
    std::vector<char> data(ggml_row_size(type, k) * values.size() / k);
    ggml_quantize_chunk(type, values.data(), data.data(), 0, (int64_t) values.size() / k, k, nullptr);
    return data;
}

static ggml_backend_buffer_type_t find_buffer_type(const char * wanted) {
    auto * dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    auto   get = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev),
                                                                                      "ggml_backend_dev_get_extra_bufts");
    for (auto * type = get ? get(dev) : nullptr; type && *type; type++) {
        if (strcmp(ggml_backend_buft_name(*type), wanted) == 0) {
            return *type;
        }
    }
    return nullptr;
}

struct shape {
    ggml_op op;
    int64_t k, n, matrices; // weights
    int64_t m, batch;       // MUL_MAT: rows and planes; GET_ROWS: rows; MUL_MAT_ID: experts used, tokens
    bool    is_shared = false; // MUL_MAT_ID: one row of activations for all experts of a token

    std::string text() const {
        char line[200];
        snprintf(line, sizeof(line), "%s k %ld n %ld matrices %ld m %ld batch %ld%s", ggml_op_name(op), (long) k, (long) n,
                 (long) matrices, (long) m, (long) batch, is_shared ? " shared" : "");
        return line;
    }
};

struct inputs {
    std::vector<char>    weights;
    std::vector<float>   activations;
    std::vector<int32_t> ids;
};

static inputs make_inputs(ggml_type type, const shape & s) {
    inputs in;
    in.weights = quantized(type, random_floats(s.k * s.n * s.matrices), s.k);
    if (s.op == GGML_OP_GET_ROWS) {
        in.ids.resize(s.m * s.matrices);
        for (auto & id : in.ids) {
            id = (int32_t) any(0, s.n - 1);
        }
        return in;
    }
    in.activations = random_floats(s.k * (s.is_shared ? 1 : s.m) * s.batch);
    if (s.op == GGML_OP_MUL_MAT_ID) {
        std::vector<int32_t> experts(s.matrices);
        for (int64_t i = 0; i < s.matrices; i++) {
            experts[i] = (int32_t) i;
        }
        for (int64_t t = 0; t < s.batch; t++) {
            std::shuffle(experts.begin(), experts.end(), rng);
            in.ids.insert(in.ids.end(), experts.begin(), experts.begin() + s.m);
        }
    }
    return in;
}

// the graph of one operator, computed by a number of threads
static std::vector<float> compute(ggml_backend_buffer_type_t buft, ggml_type type, const shape & s, const inputs & in, int threads) {
    ggml_init_params params = { ggml_tensor_overhead() * 16 + ggml_graph_overhead(), nullptr, true };

    ggml_context * weights_ctx = ggml_init(params);
    ggml_context * ctx         = ggml_init(params);
    ggml_tensor *  w           = ggml_new_tensor_3d(weights_ctx, type, s.k, s.n, s.matrices);
    ggml_tensor *  x           = nullptr;
    ggml_tensor *  ids         = nullptr;
    ggml_tensor *  y           = nullptr;
    if (s.op == GGML_OP_MUL_MAT) {
        x = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, s.k, s.m, s.batch);
        y = ggml_mul_mat(ctx, w, x);
    } else if (s.op == GGML_OP_MUL_MAT_ID) {
        x   = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, s.k, s.is_shared ? 1 : s.m, s.batch);
        ids = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, s.m, s.batch);
        y   = ggml_mul_mat_id(ctx, w, x, ids);
    } else {
        ids = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, s.m, s.matrices);
        y   = ggml_get_rows(ctx, w, ids);
    }

    auto *                backend        = ggml_backend_dev_init(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), nullptr);
    ggml_backend_buffer_t weights_buffer = ggml_backend_alloc_ctx_tensors_from_buft(weights_ctx, buft);
    ggml_backend_buffer_t buffer         = ggml_backend_alloc_ctx_tensors(ctx, backend);
    if (!ggml_backend_supports_op(backend, y)) {
        fail("%s: not supported in %s", s.text().c_str(), ggml_backend_buft_name(buft));
    }

    ggml_backend_tensor_set(w, in.weights.data(), 0, in.weights.size());
    if (x) {
        ggml_backend_tensor_set(x, in.activations.data(), 0, in.activations.size() * sizeof(float));
    }
    if (ids) {
        ggml_backend_tensor_set(ids, in.ids.data(), 0, in.ids.size() * sizeof(int32_t));
    }

    auto * reg           = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
    auto   set_n_threads = (ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
    set_n_threads(backend, threads);

    ggml_cgraph * graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
        fail("%s: not computed", s.text().c_str());
    }
    std::vector<float> out(ggml_nelements(y));
    ggml_backend_tensor_get(y, out.data(), 0, out.size() * sizeof(float));

    ggml_backend_buffer_free(buffer);
    ggml_backend_buffer_free(weights_buffer);
    ggml_backend_free(backend);
    ggml_free(ctx);
    ggml_free(weights_ctx);
    return out;
}

// One row of weights, as the file has it, times one row of activations, quantized as documented: magnitudes are what
// errors are measured by.
static void reference(const char * weights, const float * x, int64_t k, double & sum, double & magnitude) {
    sum = magnitude = 0;
    for (int64_t b = 0; b < k / 32; b++, weights += 34, x += 32) {
        ggml_fp16_t half;
        memcpy(&half, weights, sizeof(half));
        float most = 0;
        for (int i = 0; i < 32; i++) {
            most = std::max(most, std::fabs(x[i]));
        }
        const float scale = most / 127.0f;
        int64_t     dot   = 0;
        for (int i = 0; i < 32; i++) {
            dot += (int64_t) (int8_t) weights[2 + i] * (scale > 0 ? (int64_t) std::nearbyint(x[i] * (1.0f / scale)) : 0);
        }
        const double part = (double) dot * scale * ggml_fp16_to_fp32(half);
        sum += part;
        magnitude += std::fabs(part);
    }
}

static void check(const shape & s, const inputs & in, const std::vector<float> & y) {
    const size_t row = ggml_row_size(GGML_TYPE_Q8_0, s.k); // laid out alike
    if (s.op == GGML_OP_GET_ROWS) {
        for (int64_t i = 0; i < (int64_t) in.ids.size(); i++) {
            const char * weights = in.weights.data() + (i / s.m * s.n + in.ids[i]) * row;
            for (int64_t l = 0; l < s.k; l++) {
                ggml_fp16_t half;
                memcpy(&half, weights + l / 32 * 34, sizeof(half));
                const float value = ggml_fp16_to_fp32(half) * (int8_t) weights[l / 32 * 34 + 2 + l % 32];
                if (y[i * s.k + l] != value) {
                    fail("%s: (%ld, %ld) is %g instead of %g", s.text().c_str(), (long) i, (long) l, y[i * s.k + l], value);
                }
            }
        }
        return;
    }
    for (int64_t i = 0; i < s.m * s.batch; i++) {
        const int64_t matrix = s.op == GGML_OP_MUL_MAT_ID ? in.ids[i] : i / s.m / (s.batch / s.matrices);
        const float * x      = in.activations.data() + (s.is_shared ? i / s.m : i) * s.k;
        for (int64_t r = 0; r < s.n; r++) {
            double sum, magnitude;
            reference(in.weights.data() + (matrix * s.n + r) * row, x, s.k, sum, magnitude);
            const float value = y[i * s.n + r];
            if (!(std::fabs(value - sum) <= 1e-5 * magnitude)) {
                fail("%s: output (%ld, %ld) is %g instead of %g", s.text().c_str(), (long) i, (long) r, value, sum);
            }
        }
    }
}

static void parts_of_a_tensor(ggml_backend_buffer_type_t buft, ggml_type type) {
    ggml_init_params params = { ggml_tensor_overhead() * 2, nullptr, true };
    ggml_context *   ctx    = ggml_init(params);
    ggml_tensor *    w      = ggml_new_tensor_3d(ctx, type, 96, 37, 3);
    auto *           buffer = ggml_backend_alloc_ctx_tensors_from_buft(ctx, buft);
    const int64_t    size   = (int64_t) ggml_nbytes(w);

    auto              wanted = quantized(type, random_floats(ggml_nelements(w)), 96);
    std::vector<char> found(size);
    ggml_backend_tensor_set(w, wanted.data(), 0, size);
    for (int round = 0; round < 200; round++) {
        const int64_t offset = any(0, size - 1), count = any(1, size - offset);
        std::vector<char> part(count);
        for (auto & byte : part) {
            byte = (char) any(-128, 127);
        }
        memcpy(wanted.data() + offset, part.data(), count);
        ggml_backend_tensor_set(w, part.data(), offset, count);
        ggml_backend_tensor_get(w, found.data(), 0, size);
        if (found != wanted) {
            fail("%ld bytes set at %ld: the tensor isn't what was set", (long) count, (long) offset);
        }
        ggml_backend_tensor_get(w, part.data(), offset, count);
        if (memcmp(part.data(), wanted.data() + offset, count) != 0) {
            fail("%ld bytes got at %ld: not what was set", (long) count, (long) offset);
        }
    }
    ggml_backend_tensor_memset(w, 7, 100, 1000);
    memset(wanted.data() + 100, 7, 1000);
    ggml_backend_tensor_get(w, found.data(), 0, size);
    if (found != wanted) {
        fail("memset of a part: the tensor isn't what was set");
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

// where Q8_0 gives no number, neither does this; where the input is zero or denormal, both give zero or next to it
// how many pages of such memory this process has mapped in, as the kernel says; -1 where it doesn't
static long resident_pages(const void * data) {
    FILE * file = fopen("/proc/self/smaps", "r");
    if (!file) {
        return -1;
    }
    char line[512];
    long kilobytes = -1;
    for (bool is_it = false; fgets(line, sizeof(line), file);) {
        uintptr_t begin, end;
        if (sscanf(line, "%zx-%zx ", &begin, &end) == 2) {
            is_it = begin <= (uintptr_t) data && (uintptr_t) data < end;
        } else if (is_it && sscanf(line, "Rss: %ld kB", &kilobytes) == 1) {
            break;
        }
    }
    fclose(file);
    return kilobytes < 0 ? -1 : kilobytes * 1024 / sysconf(_SC_PAGESIZE);
}

// What the loader does with a mapped file, from a place that is no page's begin; then memory of nobody's file.
static void mapped_file(ggml_backend_buffer_type_t buft, ggml_type type) {
    ggml_init_params params = { ggml_tensor_overhead() * 2, nullptr, true };
    ggml_context *   ctx    = ggml_init(params);
    ggml_tensor *    w      = ggml_new_tensor_3d(ctx, type, 1024, 1003, 7);
    auto *           buffer = ggml_backend_alloc_ctx_tensors_from_buft(ctx, buft);
    const size_t     size   = ggml_nbytes(w);
    const size_t     offset = 4096 + 96;
    const auto       wanted = quantized(type, random_floats(ggml_nelements(w)), 1024);

    FILE *                  file = tmpfile();
    const std::vector<char> before(offset, 1), after(100, 2);
    if (!file || fwrite(before.data(), 1, offset, file) != offset || fwrite(wanted.data(), 1, size, file) != size ||
        fwrite(after.data(), 1, after.size(), file) != after.size() || fflush(file) != 0) {
        fail("no file of %zu bytes", size);
    }
    auto * mapping = (char *) mmap(nullptr, offset + size + after.size(), PROT_READ, MAP_SHARED, fileno(file), 0);
    if (mapping == MAP_FAILED) {
        fail("no mapping of %zu bytes", size);
    }
    std::vector<char> found(size);
    const auto        same = [&](const char * when) {
        ggml_backend_tensor_get(w, found.data(), 0, size);
        if (memcmp(found.data(), wanted.data(), size) != 0) {
            fail("%s: other weights", when);
        }
    };
    for (const bool is_told : { false, true }) {
        volatile char sum = 0;
        for (size_t i = 0; i < size; i += 1024) {
            sum = sum + mapping[offset + i]; // all its pages are there
        }
        const long all    = resident_pages(mapping);
        w->op_params[1] = is_told ? 0x70616d6d : 0;
        ggml_backend_tensor_set(w, mapping + offset, 0, size);
        const long left = resident_pages(mapping);
        same("from a mapping");
        if (w->op_params[1] != 0) {
            fail("who sets the weights next is taken for a mapped file");
        }
        if (all >= 0 && (is_told ? left > all / 20 : left < all)) {
            fail("of %ld pages of the file %ld stay, told: %d", all, left, is_told);
        }
        if (memcmp(mapping + offset, wanted.data(), size) != 0 || mapping[offset - 1] != 1 || mapping[offset + size] != 2) {
            fail("the file reads otherwise");
        }
    }
    // nobody mapped its pages in: it is read, and they stay where they are; through a descriptor that can't be read the
    // mapping has the same bytes
    for (const int descriptor : { fileno(file), 12345, -1 }) {
        madvise(mapping, offset + size + after.size(), MADV_DONTNEED);
        const int64_t begin = offset;
        w->op_params[1]     = 0x70616d6d;
        w->op_params[2]     = descriptor + 1;
        memcpy(w->op_params + 3, &begin, sizeof(begin));
        w->op_params[5] = 1;
        ggml_backend_tensor_memset(w, 0, 0, size);
        ggml_backend_tensor_set(w, mapping + offset, 0, size);
        const long mapped = resident_pages(mapping + offset + size / 2);
        same("from a file");
        for (int i = 1; i < 6; i++) {
            if (w->op_params[i] != 0) {
                fail("who sets the weights next is taken for a file");
            }
        }
        if (descriptor == fileno(file) && mapped > 0) {
            fail("%ld pages of a file that is read are mapped in", mapped);
        }
    }
    // memory whose pages would be zeros
    auto * own = (char *) mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(own, wanted.data(), size);
    ggml_backend_tensor_set(w, own, 0, size);
    same("from memory");
    // a part of it first: the mark is for what comes next, and for nothing behind that
    w->op_params[1] = 0x70616d6d;
    ggml_backend_tensor_set(w, mapping + offset, 0, size / 2);
    ggml_backend_tensor_set(w, own, 0, size);
    same("in part, and from memory");
    if (memcmp(own, wanted.data(), size) != 0) {
        fail("memory was given back that was nobody's file");
    }
    munmap(own, size);
    munmap(mapping, offset + size + after.size());
    fclose(file);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

// Memory that is zeroed before it is asked for: what was named gets it, another size doesn't, and nothing of it stays.
static void memory_ahead(ggml_backend_buffer_type_t buft, ggml_type type) {
    auto * dev    = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    auto * expect = (void (*)(const ggml_tensor *)) ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(dev), "ggml_backend_cpu_q8_a8_expect");
    if (!expect) {
        fail("nobody can be told what will be loaded");
    }
    const auto weights = [&](int64_t rows) {
        ggml_init_params params = { ggml_tensor_overhead() * 2, nullptr, true };
        ggml_context *   ctx    = ggml_init(params);
        ggml_new_tensor_2d(ctx, type, 1024, rows);
        return ctx;
    };
    // pages that are there before anything was set, of a buffer of so many rows, after so many were named
    const auto ahead = [&](int64_t named, int64_t rows, int milliseconds = 300) {
        ggml_context * ctx = weights(named);
        expect(ggml_get_first_tensor(ctx));
        expect(nullptr);
        ggml_free(ctx);
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));

        ctx               = weights(rows);
        ggml_tensor * w   = ggml_get_first_tensor(ctx);
        auto *     buffer = ggml_backend_alloc_ctx_tensors_from_buft(ctx, buft);
        const long found  = resident_pages((char *) w->data + ggml_nbytes(w) / 2);

        const auto        wanted = quantized(type, random_floats(ggml_nelements(w)), 1024);
        std::vector<char> read(wanted.size());
        ggml_backend_tensor_set(w, wanted.data(), 0, wanted.size());
        ggml_backend_tensor_get(w, read.data(), 0, read.size());
        if (read != wanted) {
            fail("%ld rows in memory for %ld: other weights", (long) rows, (long) named);
        }
        const void * begin = ggml_backend_buffer_get_base(buffer);
        const long   all   = ggml_backend_buffer_get_size(buffer) / sysconf(_SC_PAGESIZE);
        const bool   is_ahead = found * 10 > all * 9;
        ggml_backend_buffer_free(buffer);
        if (is_ahead && resident_pages(begin) > all / 2) {
            fail("%ld rows in memory for %ld: it stays when the buffer goes", (long) rows, (long) named);
        }
        ggml_free(ctx);
        return is_ahead;
    };
    const auto is_numa = (bool (*)()) ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev), "ggml_backend_cpu_is_numa");
    if (is_numa && is_numa()) {
        if (ahead(40000, 40000)) {
            fail("memory is made ready, and nobody knows for which node");
        }
        return;
    }
    if (resident_pages(&type) >= 0 && std::thread::hardware_concurrency() > 1) {
        for (const int64_t rows : { 40000, 38000 }) { // on a machine that does other things it takes a while
            if (!ahead(40000, rows) && !ahead(40000, rows, 3000) && !ahead(40000, rows, 9000)) {
                fail("memory for what was named isn't there");
            }
        }
        if (ahead(90000, 40000) || ahead(40000, 45000)) {
            fail("memory for other weights was taken");
        }
    }
}

// Every thread of this process is made here. By the name that the linker knows, since headers differ in what it may throw.
static bool no_more_threads = false;

extern "C" int made_thread(pthread_t * thread, const pthread_attr_t * how, void * (*begin)(void *), void * with) __asm__("pthread_create");

extern "C" int made_thread(pthread_t * thread, const pthread_attr_t * how, void * (*begin)(void *), void * with) {
    static const auto real = (decltype(&made_thread)) dlsym(RTLD_NEXT, "pthread_create");
    return no_more_threads ? EAGAIN : real(thread, how, begin, with);
}

// Where no thread is to be had (a limit of the user's, or of a container), a model is loaded all the same: by this one.
static void without_threads(ggml_backend_buffer_type_t buft, ggml_type type) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        no_more_threads = true;
        ggml_init_params params = { ggml_tensor_overhead() * 2, nullptr, true };
        ggml_context *   ctx    = ggml_init(params);
        ggml_tensor *    w      = ggml_new_tensor_2d(ctx, type, 1024, 20000);
        auto * expect = (void (*)(const ggml_tensor *)) ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(ggml_backend_buft_get_device(buft)), "ggml_backend_cpu_q8_a8_expect");
        expect(w);
        expect(nullptr);
        ggml_backend_alloc_ctx_tensors_from_buft(ctx, buft);
        const auto        wanted = quantized(type, random_floats(ggml_nelements(w)), 1024);
        std::vector<char> found(wanted.size());
        ggml_backend_tensor_set(w, wanted.data(), 0, wanted.size());
        ggml_backend_tensor_get(w, found.data(), 0, found.size());
        _exit(found == wanted ? 0 : 2);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fail("no thread is to be had, and packing ends with %d", status);
    }
}

static void odd_inputs(ggml_backend_buffer_type_t buft, ggml_type type) {
    const shape s  = { GGML_OP_MUL_MAT, 64, 20, 1, 5, 1 };
    inputs      in = make_inputs(type, s);
    for (const float odd : { INFINITY, -INFINITY, NAN, 0.0f, 1e-41f, 1e-45f }) {
        inputs changed = in;
        for (int64_t i = 0; i < s.k; i++) {
            changed.activations[2 * s.k + i] = std::isfinite(odd) || i == 5 ? odd : 1.0f;
        }
        const auto ours   = compute(buft, type, s, changed, 2);
        const auto theirs = compute(ggml_backend_cpu_buffer_type(), GGML_TYPE_Q8_0, s, changed, 2);
        for (int64_t i = 0; i < (int64_t) ours.size(); i++) {
            const bool is_odd = i / s.n == 2;
            // a NaN is lost in some of Q8_0's quantizers, which take it for a small number
            if (std::isnan(odd) ? is_odd && !std::isnan(ours[i]) : std::isfinite(ours[i]) != std::isfinite(theirs[i])) {
                fail("activations with %g: output %ld is %g, of Q8_0 %g", odd, (long) i, ours[i], theirs[i]);
            }
            if (std::isfinite(odd) && is_odd && std::fabs(ours[i]) > 1e-30f) {
                fail("activations of %g: output %ld is %g", odd, (long) i, ours[i]);
            }
        }
    }
}

// A graph around one packed tensor, which build makes; values are filled in, and what the result holds is given back.
template <typename F>
static std::vector<char> around(ggml_backend_buffer_type_t buft, ggml_type type, const std::vector<char> & bytes, int threads, F build) {
    ggml_init_params params = { ggml_tensor_overhead() * 32 + ggml_graph_overhead(), nullptr, true };

    ggml_context * weights_ctx = ggml_init(params);
    ggml_context * ctx         = ggml_init(params);
    ggml_tensor *  w           = ggml_new_tensor_3d(weights_ctx, type, 96, 40, 3);
    auto *         buffer_w    = ggml_backend_alloc_ctx_tensors_from_buft(weights_ctx, buft);
    ggml_backend_tensor_set(w, bytes.data(), 0, bytes.size());

    auto * backend = ggml_backend_dev_init(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), nullptr);
    auto * reg     = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
    ((ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"))(backend, threads);

    ggml_tensor * y      = build(ctx, w);
    ggml_cgraph * graph  = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    auto *        buffer = ggml_backend_alloc_ctx_tensors(ctx, backend);
    for (auto * t = ggml_get_first_tensor(ctx); t; t = ggml_get_next_tensor(ctx, t)) {
        if (t->op != GGML_OP_NONE || t->view_src) {
            continue;
        }
        if (t->type == GGML_TYPE_F32) {
            std::vector<float> ones(ggml_nelements(t));
            for (size_t i = 0; i < ones.size(); i++) {
                ones[i] = 1.0f + 0.5f * (i % 3);
            }
            ggml_backend_tensor_set(t, ones.data(), 0, ggml_nbytes(t));
        } else if (t->type == GGML_TYPE_I32) {
            std::vector<int32_t> ids(ggml_nelements(t));
            for (size_t i = 0; i < ids.size(); i++) {
                ids[i] = (int32_t) (3 * i % 7);
            }
            ggml_backend_tensor_set(t, ids.data(), 0, ggml_nbytes(t));
        }
    }
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
        fail("%s: not computed", ggml_op_name(y->op));
    }
    std::vector<char> out(ggml_nbytes(y));
    ggml_backend_tensor_get(y, out.data(), 0, out.size());
    ggml_backend_buffer_free(buffer);
    ggml_backend_buffer_free(buffer_w);
    ggml_backend_free(backend);
    ggml_free(ctx);
    ggml_free(weights_ctx);
    return out;
}

// Views that are part of a weight: what is computed with them is what is computed with the same rows unpacked. Some models
// make such (gemma3n's embeddings of each layer), and the view has no buffer when a backend is asked whether it computes.
static void views(ggml_backend_buffer_type_t buft, ggml_type type) {
    const auto bytes = quantized(type, random_floats(96 * 40 * 3), 96);
    using make       = ggml_tensor * (*) (ggml_context *, ggml_tensor *);
    const make part  = [](ggml_context * ctx, ggml_tensor * w) { // the middle block of the last rows of all matrices
        return ggml_view_3d(ctx, w, 32, 13, 3, w->nb[1], w->nb[2], 27 * w->nb[1] + 34);
    };
    const make line  = [](ggml_context * ctx, ggml_tensor * w) { return ggml_view_1d(ctx, w, 320, 5 * w->nb[1] + 34); };
    const make shape = [](ggml_context * ctx, ggml_tensor * w) { return ggml_reshape_2d(ctx, w, 192, 60); };
    const make whole = [](ggml_context * ctx, ggml_tensor * w) { return ggml_view_3d(ctx, w, 96, 40, 3, w->nb[1], w->nb[2], 0); };

    using use        = ggml_tensor * (*) (ggml_context *, ggml_tensor *);
    static bool       plain; // ggml goes from blocks to floats alone: what is compared with goes by way of them
    static const make by_floats = [](ggml_context * ctx, ggml_tensor * v) { return plain ? ggml_cast(ctx, v, GGML_TYPE_F32) : v; };
    const use uses[] = {
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_cast(ctx, v, GGML_TYPE_F32); },
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_cast(ctx, by_floats(ctx, v), GGML_TYPE_F16); },
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_cast(ctx, v, GGML_TYPE_Q8_0); },
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_cast(ctx, by_floats(ctx, v), GGML_TYPE_Q4_0); },
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_cont(ctx, v); },
        [](ggml_context * ctx, ggml_tensor * v) { return ggml_dup(ctx, v); },
        [](ggml_context * ctx, ggml_tensor * v) { // another shape
            return ggml_cpy(ctx, v, ggml_new_tensor_1d(ctx, GGML_TYPE_F32, ggml_nelements(v)));
        },
        [](ggml_context * ctx, ggml_tensor * v) {
            return ggml_get_rows(ctx, v, ggml_new_tensor_3d(ctx, GGML_TYPE_I32, ggml_nrows(v) > 1 ? 4 : 1, v->ne[2], 1));
        },
        [](ggml_context * ctx, ggml_tensor * v) {
            return ggml_mul_mat(ctx, v, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, v->ne[0], 2, 2 * v->ne[2]));
        },
    };
    for (const make view : { part, line, shape, whole }) {
        for (const use of : uses) {
            ggml_op    op  = GGML_OP_NONE;
            const auto run = [&](ggml_backend_buffer_type_t where, ggml_type as, int threads) {
                plain = where != buft;
                return around(where, as, bytes, threads, [&](ggml_context * ctx, ggml_tensor * w) {
                    ggml_tensor * y = of(ctx, view(ctx, w));
                    op              = y->op;
                    if (!ggml_backend_dev_supports_op(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), y)) {
                        fail("%s of a view: not supported", ggml_op_name(y->op));
                    }
                    return y;
                });
            };
            const auto wanted = run(ggml_backend_cpu_buffer_type(), GGML_TYPE_Q8_0, 1);
            for (const int threads : { 1, 3 }) {
                const auto found = run(buft, type, threads);
                if (found.size() != wanted.size()) {
                    fail("%s of a view: %zu bytes instead of %zu", ggml_op_name(op), found.size(), wanted.size());
                }
                if (op != GGML_OP_MUL_MAT) {
                    if (found != wanted) {
                        fail("%s of a view of packed weights: other bytes", ggml_op_name(op));
                    }
                    continue;
                }
                for (size_t i = 0; i < found.size(); i += sizeof(float)) {
                    float ours, theirs;
                    memcpy(&ours, &found[i], sizeof(ours));
                    memcpy(&theirs, &wanted[i], sizeof(theirs));
                    if (!(std::fabs(ours - theirs) <= 0.2f + 0.02f * std::fabs(theirs))) {
                        fail("MUL_MAT of a view of packed weights: %g instead of %g", ours, theirs);
                    }
                }
            }
        }
    }
}

// What can't be computed with packed weights ends the program with a sentence: garbage would go on unseen.
static void refused(ggml_backend_buffer_type_t buft, ggml_type type) {
    struct refusal {
        const char *  name;
        ggml_tensor * (*build)(ggml_context *, ggml_tensor *);
    };

    const auto    bytes    = quantized(type, random_floats(96 * 40 * 3), 96);
    const refusal builds[] = {
        { "ADD", [](ggml_context * ctx, ggml_tensor * w) { return ggml_add(ctx, w, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 96, 40, 3)); } },
        { "MUL", [](ggml_context * ctx, ggml_tensor * w) { return ggml_mul(ctx, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 96, 40, 3), w); } },
        { "SCALE", [](ggml_context * ctx, ggml_tensor * w) { return ggml_scale(ctx, w, 2.0f); } },
        { "CLAMP", [](ggml_context * ctx, ggml_tensor * w) { return ggml_clamp(ctx, w, 0, 1); } },
        { "SQR", [](ggml_context * ctx, ggml_tensor * w) { return ggml_sqr(ctx, w); } },
        { "REPEAT", [](ggml_context * ctx, ggml_tensor * w) { return ggml_repeat(ctx, w, ggml_new_tensor_3d(ctx, w->type, 96, 80, 3)); } },
        { "CONCAT", [](ggml_context * ctx, ggml_tensor * w) { return ggml_concat(ctx, w, w, 1); } },
        { "OUT_PROD", [](ggml_context * ctx, ggml_tensor * w) { return ggml_out_prod(ctx, w, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 7, 40, 3)); } },
        { "CPY", [](ggml_context * ctx, ggml_tensor * w) { return ggml_cpy(ctx, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 96, 40, 3), w); } },
        { "MUL_MAT_ID", [](ggml_context * ctx, ggml_tensor * w) {
             return ggml_mul_mat_id(ctx, ggml_view_3d(ctx, w, 96, 20, 3, w->nb[1], w->nb[2], 0), ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 96, 2, 4),
                                    ggml_new_tensor_2d(ctx, GGML_TYPE_I32, 2, 4));
         } },
    };
    for (const auto & it : builds) {
        int ends[2];
        if (pipe(ends) != 0) {
            fail("no pipe");
        }
        const pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], STDERR_FILENO);
            setenv("GGML_NO_BACKTRACE", "1", 1);
            around(buft, type, bytes, 1, it.build);
            _exit(0);
        }
        close(ends[1]);
        std::string said;
        char        some[512];
        for (ssize_t n; (n = read(ends[0], some, sizeof(some))) > 0;) {
            said.append(some, (size_t) n);
        }
        close(ends[0]);
        int status = 0;
        waitpid(child, &status, 0);
        if (!WIFSIGNALED(status) || said.find(std::string(it.name) + " ") == std::string::npos || said.find("packed weights") == std::string::npos) {
            fail("%s of packed weights: ended with status %d and said: %s", it.name, status, said.c_str());
        }
    }
}

int main(int argc, char ** argv) {
    rng.seed(argc > 1 ? (unsigned) strtoul(argv[1], nullptr, 10) : 1);
    ggml_backend_load_all();

    int found = 0;
    while (found < GGML_TYPE_COUNT && !(ggml_type_name((ggml_type) found) && strcmp(ggml_type_name((ggml_type) found), "q8_a8") == 0)) {
        found++;
    }
    if (found == GGML_TYPE_COUNT) {
        fail("this library doesn't know q8_a8");
    }
    const auto type = (ggml_type) found;
    auto *     buft = find_buffer_type("CPU_Q8_A8");
    if (!buft) {
        fprintf(stderr, "no buffer type CPU_Q8_A8\n");
        return 77;
    }

    refused(buft, type); // before there are threads
    without_threads(buft, type);

    std::vector<shape> shapes = {
        { GGML_OP_MUL_MAT, 32, 1, 1, 1, 1 },      { GGML_OP_MUL_MAT, 576, 192, 1, 1, 1 },   { GGML_OP_MUL_MAT, 1536, 576, 1, 7, 1 },
        { GGML_OP_MUL_MAT, 64, 33, 1, 513, 1 },   { GGML_OP_MUL_MAT, 2048, 8, 1, 250, 1 },  { GGML_OP_MUL_MAT, 96, 17, 1, 5, 3 },
        { GGML_OP_MUL_MAT, 96, 17, 3, 5, 6 },     { GGML_OP_MUL_MAT, 4096, 1030, 1, 1, 1 }, { GGML_OP_MUL_MAT, 16384, 40, 1, 2, 1 },
        { GGML_OP_MUL_MAT_ID, 64, 40, 8, 2, 50 }, { GGML_OP_MUL_MAT_ID, 64, 33, 5, 5, 3 },  { GGML_OP_MUL_MAT_ID, 96, 16, 16, 4, 1 },
        { GGML_OP_GET_ROWS, 64, 35, 1, 100, 1 },  { GGML_OP_GET_ROWS, 96, 20, 3, 7, 1 },
    };
    for (int i = 0; i < 8; i++) {
        shapes.push_back({ GGML_OP_MUL_MAT, 32 * any(1, 20), any(1, 200), 1, any(1, 60), 1 });
        const int64_t experts = any(1, 9);
        shapes.push_back({ GGML_OP_MUL_MAT_ID, 32 * any(1, 10), any(1, 90), experts, any(1, experts), any(1, 40) });
    }
    for (auto & s : shapes) {
        for (const bool is_shared : { false, true }) {
            s.is_shared = is_shared;
            if (is_shared && s.op != GGML_OP_MUL_MAT_ID) {
                continue;
            }
            const inputs in    = make_inputs(type, s);
            const auto   first = compute(buft, type, s, in, 1);
            check(s, in, first);
            for (int threads = 2; threads <= 16; threads++) {
                const auto other = compute(buft, type, s, in, threads);
                if (memcmp(first.data(), other.data(), first.size() * sizeof(float)) != 0) {
                    fail("%s: other bits with %d threads", s.text().c_str(), threads);
                }
            }
        }
    }
    views(buft, type);
    parts_of_a_tensor(buft, type);
    mapped_file(buft, type);
    memory_ahead(buft, type);
    odd_inputs(buft, type);
    printf("%s: %zu shapes\n", ggml_backend_buft_name(buft), shapes.size());
    return 0;
}
