// The buffer type that takes Q8_A8 weights, packs them as they are loaded, and computes with them.
//
// A tensor here has one matrix for every (ne2, ne3), each in the layout of kernels.h, one behind the other.

#include "q8-a8.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "kernels.h"
#if __has_include("traits.h")
#include "traits.h"
#else
#include "ggml-cpu-traits.h" // its name until April 2025
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#    include <sys/mman.h>
#    include <unistd.h>
#endif

namespace ggml::cpu::q8_a8 {

// ------------------------------------------------------------------------------------------------ tensors

static matrix matrix_of(const ggml_tensor * t, int64_t i) {
    matrix w = { (uint8_t *) t->data, t->ne[1], t->ne[0] / BLOCK };
    w.base += i * w.size();
    return w;
}

static size_t packed_size(const ggml_tensor * t) {
    return matrix_of(t, 0).size() * t->ne[2] * t->ne[3];
}

// a view that isn't all of its source would need strides, which the layout doesn't have
static bool is_whole(const ggml_tensor * t) {
    return t->view_src == nullptr ||
           (t->view_offs == 0 && ggml_are_same_shape(t, t->view_src) && ggml_are_same_stride(t, t->view_src));
}

// ------------------------------------------------------------------------------------------------ buffer

// the panels of a tensor, counted through all its matrices: first to last of total
static void pack_panels(const ggml_tensor * t, const char * data, int64_t first, int64_t last) {
    const int64_t n      = t->ne[1];
    const size_t  row    = ggml_row_size(t->type, t->ne[0]);
    const int64_t panels = matrix_of(t, 0).panels();

    while (first < last) {
        const int64_t i   = first / panels;
        const int64_t end = std::min(last, (i + 1) * panels);
        const int64_t r0  = (first - i * panels) * PANEL;
        const int64_t r1  = std::min((end - i * panels) * PANEL, n);
        pack(matrix_of(t, i), data + (i * n + r0) * row, r0, r1);
        first = end;
    }
}

// bytes of the file's layout, wherever they start and end in a row or a block, in or out
static void copy_bytes(const ggml_tensor * t, char * get, const char * set, size_t offset, size_t size) {
    const size_t  row_size = ggml_row_size(t->type, t->ne[0]);
    const int64_t n        = t->ne[1];

    std::vector<char> bytes(row_size);
    while (size > 0) {
        const int64_t r     = offset / row_size; // through all matrices
        const size_t  begin = offset % row_size;
        const size_t  count = std::min(size, row_size - begin);
        const matrix  w     = matrix_of(t, r / n);

        unpack(w, (weight_block *) bytes.data(), r % n, 0, w.nb);
        if (get) {
            memcpy(get, bytes.data() + begin, count);
            get += count;
        } else {
            memcpy(bytes.data() + begin, set, count);
            set += count;
            pack(w, bytes.data(), r % n, r % n + 1);
        }
        offset += count;
        size   -= count;
    }
}

static void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t offset, size_t size) {
    if (offset != 0 || size != ggml_nbytes(t)) {
        copy_bytes(t, nullptr, (const char *) data, offset, size);
        return;
    }

    // memory is the limit, and a few threads reach it; a thread must be worth its start
    const int64_t total = matrix_of(t, 0).panels() * t->ne[2] * t->ne[3];
    const int64_t count = std::min<int64_t>({ (int64_t) std::thread::hardware_concurrency(), 8, (int64_t) (size >> 19) });

    int64_t                  first = 0;
    std::vector<std::thread> threads;
    try {
        for (int64_t i = 1; i < count; i++) {
            const int64_t last = total * i / count;
            threads.emplace_back(pack_panels, t, (const char *) data, first, last);
            first = last;
        }
    } catch (const std::system_error &) {
        // no more threads to be had: what is left is done here
    }
    pack_panels(t, (const char *) data, first, total);
    for (auto & thread : threads) {
        thread.join();
    }
}

static void get_tensor(ggml_backend_buffer_t, const ggml_tensor * t, void * data, size_t offset, size_t size) {
    copy_bytes(t, (char *) data, nullptr, offset, size);
}

static void memset_tensor(ggml_backend_buffer_t, ggml_tensor * t, uint8_t value, size_t offset, size_t size) {
    const std::vector<char> bytes(size, (char) value);
    copy_bytes(t, nullptr, bytes.data(), offset, size);
}

static const char * get_name(ggml_backend_buffer_type_t) {
    return "CPU_Q8_A8";
}

// Weights are written once and then read from end to end: with large pages there are 500 times fewer to fault in while
// packing, which takes longer than the packing, and to look up later. Only a wish: without them all goes on as it would.
static void prefer_large_pages(void * base, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page  = (uintptr_t) sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t) base + page - 1) / page * page;
    const uintptr_t end   = ((uintptr_t) base + size) / page * page;
    if (begin < end) {
        (void) madvise((void *) begin, end - begin, MADV_HUGEPAGE);
    }
#else
    (void) base;
    (void) size;
#endif
}

static ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t buft, size_t size) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer == nullptr) {
        return nullptr;
    }
    prefer_large_pages(ggml_backend_buffer_get_base(buffer), size);
    buffer->buft                = buft;
    buffer->iface.memset_tensor = memset_tensor;
    buffer->iface.set_tensor    = set_tensor;
    buffer->iface.get_tensor    = get_tensor;
    buffer->iface.cpy_tensor    = nullptr; // by way of get and set
    return buffer;
}

static size_t get_alignment(ggml_backend_buffer_type_t) {
    return 64;
}

static size_t get_alloc_size(ggml_backend_buffer_type_t, const ggml_tensor * t) {
    return t->type == GGML_TYPE_Q8_A8 ? std::max(packed_size(t), ggml_nbytes(t)) : ggml_nbytes(t);
}

// ------------------------------------------------------------------------------------------------ work

// work that is less than this many bytes of weights a thread isn't worth a barrier
constexpr size_t  WORTH_A_BARRIER = 1 << 20;
// activations that each thread quantizes for itself rather than wait for others
constexpr int64_t PRIVATE         = 8192;
// bytes of weights that stay in the second cache while activations stream by, and of activations
constexpr size_t  CACHED_WEIGHTS  = 256 * 1024;
constexpr size_t  CACHED_ROWS     = 384 * 1024;
// pointers to rows lie on the stack
constexpr int64_t MAX_ROWS        = 240;
// pieces a thread: the last one to finish keeps the others waiting for a fraction of its share
constexpr int64_t PIECES          = 6;

// What a matrix product computes: for each matrix the rows of activations that meet it. A row is known by its
// number; where it comes from and goes to follows.
struct product {
    const ggml_tensor * src0;
    const ggml_tensor * src1;
    const ggml_tensor * ids; // of MUL_MAT_ID
    ggml_tensor *       dst;
    int                 ith;
    int                 nth;

    int64_t n_matrices() const { return src0->ne[2] * src0->ne[3]; }

    int64_t nb() const { return src0->ne[0] / BLOCK; }

    // rows of activations, and of outputs
    int64_t n_inputs() const { return ggml_nrows(src1); }

    int64_t n_outputs() const { return ggml_nrows(dst); }

    const float * input(int64_t i) const {
        const int64_t i1 = i % src1->ne[1];
        const int64_t i2 = i / src1->ne[1] % src1->ne[2];
        const int64_t i3 = i / src1->ne[1] / src1->ne[2];
        return (const float *) ((const char *) src1->data + i1 * src1->nb[1] + i2 * src1->nb[2] + i3 * src1->nb[3]);
    }

    float * output(int64_t i) const {
        const int64_t i1 = i % dst->ne[1];
        const int64_t i2 = i / dst->ne[1] % dst->ne[2];
        const int64_t i3 = i / dst->ne[1] / dst->ne[2];
        return (float *) ((char *) dst->data + i1 * dst->nb[1] + i2 * dst->nb[2] + i3 * dst->nb[3]);
    }

    // the row of activations that output row i is made from: its own, or with ids the token's, which may be one for
    // all experts
    int64_t input_of(int64_t i) const {
        if (!ids) {
            return i;
        }
        const int64_t used = ids->ne[0];
        return i % used % src1->ne[1] + i / used * src1->ne[1];
    }

    int32_t matrix_by_id(int64_t i) const {
        const int64_t used = ids->ne[0];
        return *(const int32_t *) ((const char *) ids->data + i % used * ids->nb[0] + i / used * ids->nb[1]);
    }

    // without ids: output rows are in the order of src1's planes, each of which meets one matrix
    int64_t matrix_by_plane(int64_t plane) const {
        const int64_t i2 = plane % src1->ne[2] / (src1->ne[2] / src0->ne[2]);
        const int64_t i3 = plane / src1->ne[2] / (src1->ne[3] / src0->ne[3]);
        return i2 + i3 * src0->ne[2];
    }
};

// The work buffer: a counter, the quantized activations, and with ids the output rows sorted by matrix.
struct work {
    std::atomic<int64_t> * next; // piece of work that nobody has taken
    act_block *            rows;
    int64_t *              begin; // [n_matrices + 1]
    int32_t *              order; // [n_outputs]

    static size_t bytes(const product & p, int64_t n_threads) {
        const int64_t inputs = std::max(p.n_inputs() * p.nb(), std::min(p.n_inputs() * p.nb(), PRIVATE / BLOCK) * n_threads);
        size_t        size   = 128 + GGML_PAD(inputs * sizeof(act_block), 64);
        if (p.ids) {
            size += GGML_PAD((p.n_matrices() + 1) * sizeof(int64_t), 64) + p.n_outputs() * sizeof(int32_t);
        }
        return size;
    }

    work(const product & p, const ggml_compute_params * params) {
        GGML_ASSERT(params->wsize >= bytes(p, params->nth));
        char * data = (char *) GGML_PAD((uintptr_t) params->wdata, 64);
        next        = (std::atomic<int64_t> *) data;
        data       += 64;
        if (p.ids) {
            begin = (int64_t *) data;
            data += GGML_PAD((p.n_matrices() + 1) * sizeof(int64_t), 64);
            rows  = (act_block *) data;
            order = (int32_t *) (data + GGML_PAD(p.n_inputs() * p.nb() * sizeof(act_block), 64));
        } else {
            begin = nullptr;
            order = nullptr;
            rows  = (act_block *) data;
        }
    }
};

// the blocks b0 to b1 of all rows, one row behind the other
static void quantize_inputs(const product & p, act_block * rows, int64_t b0, int64_t b1) {
    const int64_t nb = p.nb();
    while (b0 < b1) {
        const int64_t row  = b0 / nb;
        const int64_t last = std::min(b1, (row + 1) * nb);
        quantize(p.input(row) + b0 % nb * BLOCK, rows + b0, (last - b0) * BLOCK);
        b0 = last;
    }
}

// count output rows, the numbers first, first + 1, ... or those in order, times the panels p0 to p1
static void multiply_rows(const product & p, const matrix & w, const act_block * rows, int64_t first,
                          const int32_t * order, int64_t count, int64_t p0, int64_t p1) {
    const act_block * x[MAX_ROWS];
    float *           y[MAX_ROWS];
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = order ? order[i] : first + i;
        x[i]              = rows + p.input_of(row) * p.nb();
        y[i]              = p.output(row);
    }
    multiply(w, p0, p1, x, y, count);
}

// How the rows that meet a matrix, and its panels, are cut into pieces.
struct grid {
    int64_t rows, panels;   // of a piece
    int64_t n_rows, n_cols; // pieces

    // wanted: pieces that the threads should have at least, where the work is large enough
    grid(int64_t m, const matrix & w, int64_t wanted) {
        const int64_t tile = tile_rows();
        const int64_t fit  = CACHED_ROWS / (w.nb * sizeof(act_block));
        const int64_t most = std::max(4 * tile, std::min(MAX_ROWS, fit)) / tile * tile;

        n_rows = (m + most - 1) / most;
        rows   = ((m + n_rows - 1) / n_rows + tile - 1) / tile * tile;
        n_rows = (m + rows - 1) / rows;

        panels = CACHED_WEIGHTS / (w.nb * (matrix::QS + matrix::SCALES));
        panels = std::max<int64_t>(2, std::min(panels, w.panels()) / 2 * 2);
        for (;;) {
            n_cols = (w.panels() + panels - 1) / panels;
            if (n_rows * n_cols >= wanted || panels <= 2) {
                break;
            }
            panels = panels / 4 * 2;
        }
    }
};

// Pieces are taken as threads get free, over all matrices, so that nobody waits before all are taken. Those that share
// weights follow each other.
static void multiply_pieces(const product & p, work & work) {
    const bool    one    = !p.ids && p.n_matrices() == 1;
    const int64_t groups = p.ids ? p.n_matrices() : one ? 1 : p.src1->ne[2] * p.src1->ne[3];
    const int64_t plane  = one ? p.n_outputs() : p.dst->ne[1];

    int64_t piece = p.ith;
    int64_t done  = 0; // pieces of the groups before this one
    for (int64_t g = 0; g < groups; g++) {
        const int64_t first = p.ids ? work.begin[g] : g * plane;
        const int64_t m     = p.ids ? work.begin[g + 1] - first : plane;
        if (m == 0) {
            continue;
        }
        const matrix w      = matrix_of(p.src0, p.ids ? g : one ? 0 : p.matrix_by_plane(g));
        const grid   grid(m, w, PIECES * p.nth);
        const int64_t count = grid.n_rows * grid.n_cols;

        for (; piece < done + count; piece = work.next->fetch_add(1, std::memory_order_relaxed)) {
            const int64_t row   = (piece - done) % grid.n_rows * grid.rows;
            const int64_t panel = (piece - done) / grid.n_rows * grid.panels;
            multiply_rows(p, w, work.rows, first + row, p.ids ? work.order + first + row : nullptr,
                          std::min(grid.rows, m - row), panel, std::min(panel + grid.panels, w.panels()));
        }
        done += count;
    }
}

static void sort_by_matrix(const product & p, work & work) {
    const int64_t n = p.n_matrices();

    std::fill(work.begin, work.begin + n + 1, 0);
    for (int64_t i = 0; i < p.n_outputs(); i++) {
        const int32_t id = p.matrix_by_id(i);
        GGML_ASSERT(id >= 0 && id < n);
        work.begin[id + 1]++;
    }
    for (int64_t i = 0; i < n; i++) {
        work.begin[i + 1] += work.begin[i];
    }
    // each matrix' begin moves to its end, which is the next one's begin, and then back
    for (int64_t i = 0; i < p.n_outputs(); i++) {
        work.order[work.begin[p.matrix_by_id(i)]++] = (int32_t) i;
    }
    for (int64_t i = n; i > 0; i--) {
        work.begin[i] = work.begin[i - 1];
    }
    work.begin[0] = 0;
}

static void mul_mat(const product & p, ggml_compute_params * params) {
    GGML_ASSERT(p.src1->type == GGML_TYPE_F32 && p.dst->type == GGML_TYPE_F32);
    GGML_ASSERT(p.src1->nb[0] == sizeof(float) && p.dst->nb[0] == sizeof(float));
    GGML_ASSERT(is_whole(p.src0));

    work          work(p, params);
    const int64_t blocks = p.n_inputs() * p.nb();

    if (!p.ids && p.n_matrices() == 1 && blocks <= PRIVATE / BLOCK && p.n_outputs() <= MAX_ROWS) {
        const matrix w = matrix_of(p.src0, 0);
        if (p.nth == 1 || w.size() < p.nth * WORTH_A_BARRIER) {
            // a little work, as one token's: no thread waits for another
            act_block * rows = work.rows + p.ith * blocks;
            quantize_inputs(p, rows, 0, blocks);
            multiply_rows(p, w, rows, 0, nullptr, p.n_outputs(), w.panels() * p.ith / p.nth,
                          w.panels() * (p.ith + 1) / p.nth);
            return;
        }
    }

    if (p.ith == 0) {
        new (work.next) std::atomic<int64_t>(p.nth); // everyone begins with the piece of their own number
        if (p.ids) {
            sort_by_matrix(p, work);
        }
    }
    quantize_inputs(p, work.rows, blocks * p.ith / p.nth, blocks * (p.ith + 1) / p.nth);
    ggml_barrier(params->threadpool);
    multiply_pieces(p, work);
}

static void get_rows(const ggml_compute_params * params, ggml_tensor * dst) {
    const ggml_tensor * src0 = dst->src[0];
    const ggml_tensor * src1 = dst->src[1];

    GGML_ASSERT(src1->type == GGML_TYPE_I32 && dst->type == GGML_TYPE_F32 && dst->nb[0] == sizeof(float));
    GGML_ASSERT(is_whole(src0));

    const int64_t n = ggml_nelements(src1);
    for (int64_t i = n * params->ith / params->nth; i < n * (params->ith + 1) / params->nth; i++) {
        const int64_t i0 = i % src1->ne[0];
        const int64_t i1 = i / src1->ne[0] % src1->ne[1];
        const int64_t i2 = i / src1->ne[0] / src1->ne[1];
        const int64_t r  = *(const int32_t *) ((const char *) src1->data + i0 * src1->nb[0] + i1 * src1->nb[1] + i2 * src1->nb[2]);
        GGML_ASSERT(r >= 0 && r < src0->ne[1]);
        dequantize(matrix_of(src0, i1 + i2 * src0->ne[2]),
                   (float *) ((char *) dst->data + i0 * dst->nb[1] + i1 * dst->nb[2] + i2 * dst->nb[3]), r);
    }
}

// ------------------------------------------------------------------------------------------------ registration

class traits : public ggml::cpu::tensor_traits {
    static product product_of(const ggml_tensor * op, int ith, int nth) {
        return { op->src[0], op->src[1], op->op == GGML_OP_MUL_MAT_ID ? op->src[2] : nullptr, const_cast<ggml_tensor *>(op), ith, nth };
    }

    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        if (op->op != GGML_OP_MUL_MAT && op->op != GGML_OP_MUL_MAT_ID) {
            return false;
        }
        size = work::bytes(product_of(op, 0, n_threads), n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        switch (op->op) {
            case GGML_OP_MUL_MAT:
            case GGML_OP_MUL_MAT_ID:
                mul_mat(product_of(op, params->ith, params->nth), params);
                return true;
            case GGML_OP_GET_ROWS:
                get_rows(params, op);
                return true;
            default:
                return false;
        }
    }
};

class extra_buffer_type : public ggml::cpu::extra_buffer_type {
    static bool is_ours(const ggml_tensor * t) {
        return t && t->buffer && t->buffer->buft == ggml_backend_cpu_q8_a8_buffer_type();
    }

    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        const ggml_tensor * src0 = op->src[0];
        const ggml_tensor * src1 = op->src[1];

        if (!is_ours(src0) || is_ours(src1) || src0->type != GGML_TYPE_Q8_A8 || !is_whole(src0)) {
            return false;
        }
        if (op->type != GGML_TYPE_F32 || (src1->buffer && !ggml_backend_buft_is_host(src1->buffer->buft))) {
            return false;
        }
        switch (op->op) {
            case GGML_OP_MUL_MAT:
                return src1->type == GGML_TYPE_F32;
            case GGML_OP_MUL_MAT_ID:
                return src1->type == GGML_TYPE_F32 && src0->ne[3] == 1 && src1->ne[3] == 1 && !is_ours(op->src[2]);
            case GGML_OP_GET_ROWS:
                return src1->type == GGML_TYPE_I32;
            default:
                return false;
        }
    }

    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        static traits traits;

        const bool takes = op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID || op->op == GGML_OP_GET_ROWS;
        return takes && is_ours(op->src[0]) ? &traits : nullptr;
    }
};

} // namespace ggml::cpu::q8_a8

ggml_backend_buffer_type_t ggml_backend_cpu_q8_a8_buffer_type(void) {
    if (!ggml::cpu::q8_a8::is_worth_it()) {
        return nullptr;
    }

    static ggml_backend_buffer_type buffer_type = {
        /* .iface = */ {
            /* .get_name       = */ ggml::cpu::q8_a8::get_name,
            /* .alloc_buffer   = */ ggml::cpu::q8_a8::alloc_buffer,
            /* .get_alignment  = */ ggml::cpu::q8_a8::get_alignment,
            /* .get_max_size   = */ nullptr, // SIZE_MAX
            /* .get_alloc_size = */ ggml::cpu::q8_a8::get_alloc_size,
            /* .is_host        = */ nullptr, // no: others can't read the layout
        },
        /* .device  = */ ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        /* .context = */ new ggml::cpu::q8_a8::extra_buffer_type(),
    };

    return &buffer_type;
}
