// The buffer type that takes weights in blocks of Q8_0's layout, packs them as they are loaded, and computes with them.
//
// A tensor here has one matrix for every (ne2, ne3), each in the layout of kernels.h, one behind the other.

#include "kernels.h" // before headers that define what a compiler doesn't

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#if __has_include("traits.h")
#include "traits.h"
#else
#include "ggml-cpu-traits.h" // its name until April 2025
#endif
#ifdef GGML_USE_CPU_KLEIDIAI
#    include "kleidiai/kleidiai.h"
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

// WASI has neither threads nor exceptions, and a browser has threads only where it is asked for them
#if !defined(__wasi__) && (!defined(__EMSCRIPTEN__) || defined(__EMSCRIPTEN_PTHREADS__))
#    define Q8_A8_THREADS
#    include <chrono>
#    include <condition_variable>
#    include <mutex>
#    include <system_error>
#    include <thread>
#endif

#if defined(__linux__) || defined(__APPLE__)
#    include <cerrno>
#    include <fcntl.h>
#    include <sys/mman.h>
#    include <sys/uio.h>
#    include <unistd.h>
#endif

ggml_backend_buffer_type_t ggml_backend_cpu_q8_a8_buffer_type(void);
void                       ggml_backend_cpu_q8_a8_take_all(void);
void                       ggml_backend_cpu_q8_a8_expect(const ggml_tensor * weight);

namespace ggml::cpu::q8_a8 {

// ------------------------------------------------------------------------------------------------ tensors

static bool takes_all = false;

// a type whose block is Q8_0's, under whatever number
static bool has_our_block(const ggml_tensor * t) {
    return ggml_blck_size(t->type) == BLOCK && ggml_type_size(t->type) == sizeof(weight_block);
}

// Whether a weight that isn't here yet should come. Which type its file gave it stands in its first op_param, where that
// is another than Q8_0: such a type is made for this.
static bool is_wanted(const ggml_tensor * t) {
    return has_our_block(t) && (takes_all || t->type != GGML_TYPE_Q8_0 || t->op_params[0] != 0);
}

static const ggml_tensor * root_of(const ggml_tensor * t) {
    return t->view_src ? t->view_src : t;
}

// A view may have no buffer of its own yet, its source's bytes are packed all the same.
static bool is_packed(const ggml_tensor * t) {
    return t && root_of(t)->buffer && root_of(t)->buffer->buft == ggml_backend_cpu_q8_a8_buffer_type();
}

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

#if defined(__linux__) || defined(__APPLE__)
static size_t whole_pages(size_t bytes) {
    static const size_t page = (size_t) sysconf(_SC_PAGESIZE);
    return GGML_PAD(bytes, page);
}

// Says something of the whole pages of size bytes to the system, which may not listen: all goes on as it would. Returns the
// bytes up to the last page's end, 0 where there is none.
static size_t advise(const void * base, size_t size, int advice) {
    const uintptr_t begin = whole_pages((uintptr_t) base);
    const uintptr_t end   = ((uintptr_t) base + size) / whole_pages(1) * whole_pages(1);
    if (begin >= end) {
        return 0;
    }
    (void) madvise((void *) begin, end - begin, advice);
    return end - (uintptr_t) base;
}
#endif

// Written by the loader into a weight's op_params, from the second on, where the bytes that come next are a mapped file's:
// this, the file's descriptor and 1 (0: not told), where in it they begin (64 bits), and 1 where nobody mapped its pages in.
// Elsewhere to give pages back is to lose what they hold, so a number that nobody writes by chance.
constexpr int32_t MAPPED = 0x70616d6d;

// Where a weight's bytes come from. Those of a mapped file aren't read again: as long as their pages stay, the weights lie in
// memory twice. So pages that are mapped in are given back, and those that aren't never are: the file is read instead.
struct source {
    const char * data;
    bool         is_mapped = false;
    bool         is_read   = false;
    int          file      = -1;
    int64_t      offset    = 0;

    static constexpr size_t STEP  = 1 << 20; // so much is packed before what it was packed from goes
    static constexpr size_t PIECE = 1 << 17; // so much is read at a time: it stays in a cache until it is packed

    source(ggml_tensor * t, const void * data) : data((const char *) data) {
        if (t->op_params[1] == MAPPED) {
            is_mapped = true;
            file      = t->op_params[2] - 1;
#if defined(__linux__) || defined(__APPLE__)
            is_read = file >= 0 && t->op_params[5] == 1 && sizeof(off_t) == sizeof(offset);
#endif
            memcpy(&offset, t->op_params + 3, sizeof(offset));
        }
        memset(t->op_params + 1, 0, 5 * sizeof(int32_t)); // what is set another time is somebody's memory
    }

    size_t step() const { return is_read ? PIECE : is_mapped ? STEP : SIZE_MAX; }

    // Whoever touches a byte of a file has as much of it mapped in as one page of the system's cache holds, which may be 2 MB:
    // the small tensors between packed ones would bring those with them. Such a page isn't mapped beyond a difference in advice.
    void set_apart(size_t size) const {
#if defined(__linux__) && defined(MADV_NOHUGEPAGE)
        if (is_read) {
            advise(data, size, MADV_NOHUGEPAGE);
        }
#else
        (void) size;
#endif
    }

    // The system fetches what comes next, if it has to, while what has come is packed: weights follow one another in a file
    // about as they do in memory, and to wait for each by itself takes half as long again.
    void announce(int64_t size) const {
#if defined(__linux__)
        constexpr int64_t AHEAD = 4 << 20;

        static thread_local int64_t begin = 0; // of what was announced last
        static thread_local int64_t end   = 0;
        if (!is_read || (offset >= begin && offset + size <= end)) {
            return;
        }
        begin = offset;
        end   = offset + std::max(size, AHEAD);
#    if defined(RWF_NOWAIT) && !defined(__ANDROID__) // which names it and may lack the function
        char        last;
        const iovec part = { &last, 1 };
        if (preadv2(file, &part, 1, (off_t) (end - 1), RWF_NOWAIT) == 1) {
            return; // to look for each page that is there takes a while, too
        }
#    endif
        (void) posix_fadvise(file, (off_t) begin, (off_t) (end - begin), POSIX_FADV_WILLNEED);
#else
        (void) size;
#endif
    }

    // size bytes from begin on, in the buffer or where they lie
    const char * bytes(size_t begin, size_t size, char * buffer) const {
#if defined(__linux__) || defined(__APPLE__)
        for (size_t got = 0; is_read && buffer;) {
            const ssize_t n = pread(file, buffer + got, size - got, (off_t) (offset + begin + got));
            if (n > 0) {
                got += n;
            } else if (n == 0 || errno != EINTR) {
                break; // as by a descriptor that reads whole sectors only: the mapping has the same bytes
            }
            if (got == size) {
                return buffer;
            }
        }
#else
        (void) size;
        (void) buffer;
#endif
        return data + begin;
    }

    // Whole pages of these bytes, from first on, which is moved; who reads one nevertheless gets it from the file.
    void give_back(size_t & first, size_t end) const {
#if defined(__linux__) || defined(__APPLE__)
        if (is_mapped && !is_read) {
            first += advise(data + first, end - first, MADV_DONTNEED); // not those that are locked
        }
#else
        (void) first;
        (void) end;
#endif
    }
};

// the panels of a tensor, counted through all its matrices: first to last of total
static void pack_panels(const ggml_tensor * t, const source & from, int64_t first, int64_t last) {
    const int64_t n      = t->ne[1];
    const size_t  row    = ggml_row_size(t->type, t->ne[0]);
    const int64_t panels = matrix_of(t, 0).panels();
    const int64_t step   = std::max<int64_t>(1, std::min<size_t>(panels, from.step() / (PANEL * row)));

    const std::unique_ptr<char[]> buffer(from.is_read ? new char[step * PANEL * row] : nullptr);

    size_t there = (first / panels * n + first % panels * PANEL) * row; // the first byte that wasn't given back
    while (first < last) {
        const int64_t i   = first / panels;
        const int64_t end = std::min({ last, (i + 1) * panels, first + step });
        const int64_t r0  = (first - i * panels) * PANEL;
        const int64_t r1  = std::min((end - i * panels) * PANEL, n);
        pack(matrix_of(t, i), from.bytes((i * n + r0) * row, (r1 - r0) * row, buffer.get()), r0, r1);
        from.give_back(there, (i * n + r1) * row);
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

#ifdef Q8_A8_THREADS
// A few reach the limit, which is memory. OpenMP ends the process where a thread isn't to be had, though nobody may have
// asked for more than one: so many are had at once before it is asked for them.
static int64_t most_packers() {
    const int64_t wanted = std::min<int64_t>(std::thread::hardware_concurrency(), 8); // asks the system
#    ifdef GGML_USE_OPENMP
    std::mutex               all;
    std::vector<std::thread> tried;
    try {
        const std::lock_guard<std::mutex> lock(all);
        tried.reserve(8);
        while ((int64_t) tried.size() + 1 < wanted) {
            tried.emplace_back([&all] { const std::lock_guard<std::mutex> lock(all); });
        }
    } catch (const std::system_error &) {
        // no more threads to be had
    }
    for (auto & thread : tried) {
        thread.join();
    }
    return (int64_t) tried.size() + 1;
#    else
    return wanted;
#    endif
}
#endif

// Threads that pack a tensor of so many bytes. One must be worth its start: those of OpenMP wait for the next tensor, others
// start anew.
static int64_t packers(size_t size) {
#ifdef Q8_A8_THREADS
#    ifdef GGML_USE_OPENMP
    constexpr size_t WORTH = 1 << 16;
#    else
    constexpr size_t WORTH = 1 << 19;
#    endif
    static const int64_t most = most_packers();
    return std::max<int64_t>(1, std::min<int64_t>(most, (size + WORTH / 2) / WORTH));
#else
    (void) size;
    return 1;
#endif
}

static void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t offset, size_t size) {
    const source from(t, data);
    if (offset != 0 || size != ggml_nbytes(t)) {
        copy_bytes(t, nullptr, (const char *) data, offset, size);
        return;
    }

    const int64_t total = matrix_of(t, 0).panels() * t->ne[2] * t->ne[3];
    const int64_t count = packers(size);

    from.announce((int64_t) size);
    from.set_apart(size);

    const auto part = [&](int64_t i) { pack_panels(t, from, total * i / count, total * (i + 1) / count); };

#ifdef GGML_USE_OPENMP
#    pragma omp parallel for num_threads((int) count) schedule(static, 1)
    for (int64_t i = 0; i < count; i++) {
        part(i);
    }
#else
    int64_t started = 1;
#    ifdef Q8_A8_THREADS
    std::vector<std::thread> threads;
    try {
        for (; started < count; started++) {
            threads.emplace_back(part, started);
        }
    } catch (const std::system_error &) {
        // no more threads to be had: what is left is done here
    }
#    endif
    part(0);
    for (int64_t i = started; i < count; i++) {
        part(i);
    }
#    ifdef Q8_A8_THREADS
    for (auto & thread : threads) {
        thread.join();
    }
#    endif
#endif
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
// packing, which takes longer than the packing, and to look up later.
static void prefer_large_pages(void * base, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    advise(base, size, MADV_HUGEPAGE);
#else
    (void) base;
    (void) size;
#endif
}

static size_t get_alignment(ggml_backend_buffer_type_t) {
    return 64;
}

static size_t get_alloc_size(ggml_backend_buffer_type_t, const ggml_tensor * t) {
    return has_our_block(t) ? std::max(packed_size(t), ggml_nbytes(t)) : ggml_nbytes(t);
}

// New memory is zeroed as it is first written to, which takes longer than packing into it. Where the loader names what it is
// going to load, a thread has that done ahead, while the loader's one reads the vocabulary.
class memory_ahead {
#if defined(__linux__) && defined(Q8_A8_THREADS)
    static constexpr size_t WORTH = 16 << 20; // less is zeroed in no time

    std::mutex              mutex; // of those who call
    char *                  base   = nullptr;
    size_t                  size   = 0;
    size_t                  wanted = 0; // by the weights that were named so far
    std::thread             thread;
    std::mutex              hurry;
    std::condition_variable told;
    std::atomic<bool>       is_enough{ false };

    void touch() {
        for (size_t i = 0; i < size && !is_enough; i += whole_pages(1)) {
            *(volatile char *) (base + i) = 0;
        }
        // a model that couldn't be loaded, or went elsewhere
        std::unique_lock<std::mutex> lock(hurry);
        if (!told.wait_for(lock, std::chrono::seconds(10), [this] { return is_enough.load(); })) {
            munmap(base, size);
            base = nullptr;
        }
    }

    void end() {
        {
            const std::lock_guard<std::mutex> lock(hurry);
            is_enough = true;
        }
        told.notify_all();
        if (thread.joinable()) {
            thread.join();
        }
    }

    void drop() {
        end();
        if (base) {
            munmap(base, size);
            base = nullptr;
        }
    }

  public:
    ~memory_ahead() { drop(); }

    void want(size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex);
        wanted += GGML_PAD(bytes, get_alignment(nullptr));
    }

    void begin() {
        const std::lock_guard<std::mutex> lock(mutex);
        drop();
        size   = whole_pages(wanted);
        wanted = 0;
        // pages belong to the node of the thread that touched them first
        if (size < WORTH || ggml_is_numa() || std::thread::hardware_concurrency() < 2) {
            return;
        }
        void * memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return;
        }
        base      = (char *) memory;
        is_enough = false;
        prefer_large_pages(base, size);
        try {
            thread = std::thread([this] { touch(); });
        } catch (const std::system_error &) {
            drop(); // no more threads to be had
        }
    }

    // A buffer in that memory, if it is about what was waited for. What isn't zeroed by now is as it is packed.
    ggml_backend_buffer_t take(size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex);
        end();
        const size_t kept = whole_pages(bytes);
        if (!base || kept > size || kept < size / 2) {
            drop();
            return nullptr;
        }
        if (kept < size) {
            munmap(base + kept, size - kept);
        }
        ggml_backend_buffer_t buffer = ggml_backend_cpu_buffer_from_ptr(base, bytes);
        buffer->iface.free_buffer    = [](ggml_backend_buffer_t old) { munmap(old->context, whole_pages(old->size)); };
        base                         = nullptr;
        return buffer;
    }
#else
  public:
    void want(size_t) {}

    void begin() {}

    ggml_backend_buffer_t take(size_t) { return nullptr; }
#endif
};

static memory_ahead & ahead() {
    static memory_ahead ahead;
    return ahead;
}

static ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t buft, size_t size) {
    ggml_backend_buffer_t buffer = ahead().take(size);
    if (buffer == nullptr) {
        buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
        if (buffer == nullptr) {
            return nullptr;
        }
        prefer_large_pages(ggml_backend_buffer_get_base(buffer), size);
    }
    buffer->buft                = buft;
    buffer->iface.memset_tensor = memset_tensor;
    buffer->iface.set_tensor    = set_tensor;
    buffer->iface.get_tensor    = get_tensor;
    buffer->iface.cpy_tensor    = nullptr; // by way of get and set
    return buffer;
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

    // where memory is nearer to some threads than to others, each keeps to the weights that it had the last time
    const bool stays = ggml_is_numa();

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

        for (; piece < done + count; piece = stays ? piece + p.nth : work.next->fetch_add(1, std::memory_order_relaxed)) {
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

// ------------------------------------------------------------------------------------------------ rows as they were

// Blocks of row (i1, i2, i3) of a tensor that is packed, or of a view of one: as the file has them. A view's row may go
// on in the next row of what it is a view of.
static void read_blocks(const ggml_tensor * t, const int64_t * row, int64_t b0, int64_t count, weight_block * dst) {
    const ggml_tensor * root     = root_of(t);
    const size_t        row_size = ggml_row_size(root->type, root->ne[0]);

    size_t offset = t->view_src ? t->view_offs : 0;
    offset += row[0] * t->nb[1] + row[1] * t->nb[2] + row[2] * t->nb[3] + b0 * sizeof(weight_block);
    while (count > 0) {
        const int64_t r = offset / row_size;
        const int64_t b = offset % row_size / sizeof(weight_block);
        const matrix  w = matrix_of(root, r / root->ne[1]);
        const int64_t n = std::min(count, w.nb - b);
        unpack(w, dst, r % root->ne[1], b, b + n);
        dst    += n;
        count  -= n;
        offset += n * sizeof(weight_block);
    }
}

// the same, n values from one that starts a block
static void read_row(const ggml_tensor * t, const int64_t * row, int64_t first, int64_t n, float * dst) {
    for (int64_t i = 0; i < n; i += BLOCK) {
        weight_block block;
        read_blocks(t, row, (first + i) / BLOCK, 1, &block);
        ggml_get_type_traits(GGML_TYPE_Q8_0)->to_float(&block, dst + i, BLOCK);
    }
}

// whether rows can be read: a transposed view has none
static bool has_rows(const ggml_tensor * t) {
    return has_our_block(t) && t->nb[0] == sizeof(weight_block);
}

// CPY, DUP, CONT: in the order of elements, whatever the shapes
static void copy(const ggml_compute_params * params, ggml_tensor * dst) {
    const ggml_tensor * src   = dst->src[0];
    const int64_t       n     = dst->ne[0];
    const int64_t       width = src->ne[0];
    const int64_t       block = ggml_blck_size(dst->type);
    const size_t        size  = ggml_type_size(dst->type);
    const auto          from  = ggml_get_type_traits_cpu(dst->type)->from_float;

    GGML_ASSERT(dst->type == GGML_TYPE_F32 || from);
    GGML_ASSERT(block == 1 || dst->nb[0] == size);

    std::vector<float> values(n), row(width);
    std::vector<char>  made(ggml_row_size(dst->type, n));

    const int64_t rows = ggml_nrows(dst);
    for (int64_t r = rows * params->ith / params->nth; r < rows * (params->ith + 1) / params->nth; r++) {
        char * out = (char *) dst->data + r % dst->ne[1] * dst->nb[1] + r / dst->ne[1] % dst->ne[2] * dst->nb[2] +
                     r / dst->ne[1] / dst->ne[2] * dst->nb[3];
        for (int64_t i = 0; i < n;) {
            const int64_t from_row = (r * n + i) / width;
            const int64_t begin    = (r * n + i) % width;
            const int64_t count    = std::min(n - i, width - begin);
            const int64_t at[]     = { from_row % src->ne[1], from_row / src->ne[1] % src->ne[2],
                                       from_row / src->ne[1] / src->ne[2] };
            if (has_our_block(dst)) {
                read_blocks(src, at, begin / BLOCK, count / BLOCK, (weight_block *) (out + i / BLOCK * size));
            } else {
                read_row(src, at, 0, width, row.data());
                std::copy_n(row.data() + begin, count, values.data() + i);
            }
            i += count;
        }
        if (has_our_block(dst)) {
            continue;
        }
        if (dst->type == GGML_TYPE_F32) {
            memcpy(made.data(), values.data(), made.size());
        } else {
            from(values.data(), made.data(), n);
        }
        if (dst->nb[0] == size) {
            memcpy(out, made.data(), made.size());
        } else {
            for (int64_t i = 0; i < n; i++) {
                memcpy(out + i * dst->nb[0], made.data() + i * size, size);
            }
        }
    }
}

// A view that isn't the whole of what is packed: its rows are read one by one, which is slow and right.
static void mul_mat_of_view(const product & p) {
    const ggml_tensor * w = p.src0;

    std::vector<float> row(w->ne[0]);
    const int64_t      rows  = ggml_nrows(w);
    const int64_t      many2 = p.src1->ne[2] / w->ne[2], many3 = p.src1->ne[3] / w->ne[3]; // planes that meet a matrix
    for (int64_t r = rows * p.ith / p.nth; r < rows * (p.ith + 1) / p.nth; r++) {
        const int64_t at[] = { r % w->ne[1], r / w->ne[1] % w->ne[2], r / w->ne[1] / w->ne[2] };
        read_row(w, at, 0, w->ne[0], row.data());
        for (int64_t i = 0; i < many2 * many3 * p.src1->ne[1]; i++) {
            const int64_t i1    = i % p.src1->ne[1];
            const int64_t i2    = at[1] * many2 + i / p.src1->ne[1] % many2;
            const int64_t i3    = at[2] * many3 + i / p.src1->ne[1] / many2;
            const int64_t plane = i3 * p.src1->ne[2] + i2;
            const float * x     = p.input(plane * p.src1->ne[1] + i1);
            double        sum   = 0;
            for (int64_t k = 0; k < w->ne[0]; k++) {
                sum += (double) row[k] * x[k];
            }
            p.output(plane * p.src1->ne[1] + i1)[at[0]] = (float) sum;
        }
    }
}

static void get_rows(const ggml_compute_params * params, ggml_tensor * dst) {
    const ggml_tensor * src0 = dst->src[0];
    const ggml_tensor * src1 = dst->src[1];

    GGML_ASSERT(src1->type == GGML_TYPE_I32 && dst->type == GGML_TYPE_F32 && dst->nb[0] == sizeof(float));

    const bool    is_all = is_whole(src0);
    const int64_t n      = ggml_nelements(src1);
    for (int64_t i = n * params->ith / params->nth; i < n * (params->ith + 1) / params->nth; i++) {
        const int64_t i0 = i % src1->ne[0];
        const int64_t i1 = i / src1->ne[0] % src1->ne[1];
        const int64_t i2 = i / src1->ne[0] / src1->ne[1];
        const int64_t r  = *(const int32_t *) ((const char *) src1->data + i0 * src1->nb[0] + i1 * src1->nb[1] + i2 * src1->nb[2]);
        GGML_ASSERT(r >= 0 && r < src0->ne[1]);
        float * out = (float *) ((char *) dst->data + i0 * dst->nb[1] + i1 * dst->nb[2] + i2 * dst->nb[3]);
        if (is_all) {
            dequantize(matrix_of(src0, i1 + i2 * src0->ne[2]), out, r);
        } else {
            const int64_t at[] = { r, i1, i2 };
            read_row(src0, at, 0, src0->ne[0], out);
        }
    }
}

// ------------------------------------------------------------------------------------------------ registration

class traits : public ggml::cpu::tensor_traits {
    static product product_of(const ggml_tensor * op, int ith, int nth) {
        return { op->src[0], op->src[1], op->op == GGML_OP_MUL_MAT_ID ? op->src[2] : nullptr, const_cast<ggml_tensor *>(op), ith, nth };
    }

    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        if ((op->op != GGML_OP_MUL_MAT && op->op != GGML_OP_MUL_MAT_ID) || !is_whole(op->src[0])) {
            return false;
        }
        size = work::bytes(product_of(op, 0, n_threads), n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        if (!is_computed(op)) {
            GGML_ABORT("%s '%s': no kernel reads or writes packed weights so; load the model with --no-repack", ggml_op_name(op->op), op->name);
        }
        switch (op->op) {
            case GGML_OP_MUL_MAT:
            case GGML_OP_MUL_MAT_ID:
                {
                    const product p = product_of(op, params->ith, params->nth);
                    if (is_whole(p.src0)) {
                        mul_mat(p, params);
                    } else {
                        mul_mat_of_view(p);
                    }
                }
                return true;
            case GGML_OP_GET_ROWS:
                get_rows(params, op);
                return true;
            default:
                copy(params, op);
                return true;
        }
    }

  public:
    // What can be computed with packed weights: as the first source of some operators, and in no other place.
    static bool is_computed(const ggml_tensor * op) {
        if (!is_packed(op->src[0]) || !has_rows(op->src[0]) || is_packed(op)) {
            return false;
        }
        for (int i = 1; i < GGML_MAX_SRC; i++) {
            if (is_packed(op->src[i])) {
                return false;
            }
        }
        const ggml_tensor * src0 = op->src[0];
        const ggml_tensor * src1 = op->src[1];
        switch (op->op) {
            case GGML_OP_MUL_MAT:
                return op->type == GGML_TYPE_F32 && src1->type == GGML_TYPE_F32;
            case GGML_OP_MUL_MAT_ID:
                return op->type == GGML_TYPE_F32 && src1->type == GGML_TYPE_F32 && src0->ne[3] == 1 && src1->ne[3] == 1 && is_whole(src0);
            case GGML_OP_GET_ROWS:
                return op->type == GGML_TYPE_F32 && src1->type == GGML_TYPE_I32;
            case GGML_OP_CPY:
            case GGML_OP_DUP:
            case GGML_OP_CONT:
                // into blocks of ours, or by way of floats
                return has_our_block(op) || op->type == GGML_TYPE_F32 || ggml_get_type_traits_cpu(op->type)->from_float != nullptr;
            default:
                return false;
        }
    }
};

// Whether a weight is left to KleidiAI: one of a Q8_0 file that it multiplies by. It takes fewer instructions than we do, and
// rounds the weights of a row to one scale. Who compiles it in wants that for Q8_0; who makes a file of a type of our own
// wants the scales of its blocks.
static bool is_kleidiais(ggml_backend_dev_t dev, const ggml_tensor * op) {
#ifdef GGML_USE_CPU_KLEIDIAI
    if (op->src[0]->type != GGML_TYPE_Q8_0 || op->src[0]->op_params[0] != 0 || !op->src[1]) {
        return false;
    }
    ggml_backend_buffer buffer = {};
    buffer.buft                = ggml_backend_cpu_kleidiai_buffer_type();
    ggml_tensor weight         = *op->src[0];
    weight.buffer              = &buffer;
    ggml_tensor input          = *op->src[1];
    ggml_tensor asked          = *op;
    asked.src[0]               = &weight;
    asked.src[1]               = &input;
    if (op->op == GGML_OP_GET_ROWS) {
        // embeddings, which are often the output matrix as well: packed for this alone they would lie in memory twice
        asked.op   = GGML_OP_MUL_MAT;
        input.type = GGML_TYPE_F32;
    }
    return ((ggml::cpu::extra_buffer_type *) buffer.buft->context)->supports_op(dev, &asked);
#else
    (void) dev;
    (void) op;
    return false;
#endif
}

class extra_buffer_type : public ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t dev, const ggml_tensor * op) override {
        if (!traits::is_computed(op)) {
            return false;
        }
        // a weight without memory is one that the loader asks for, or that only its size is asked of
        const ggml_tensor * weight = root_of(op->src[0]);
        const ggml_tensor * src1   = op->src[1];
        return (weight->data || (is_wanted(weight) && !is_kleidiais(dev, op))) &&
               (!src1 || !src1->buffer || ggml_backend_buft_is_host(src1->buffer->buft));
    }

    // whatever reads or writes what is packed is ours to compute, or to refuse: anybody else would take it for rows
    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        static traits traits;

        switch (op->op) {
            case GGML_OP_NONE:
            case GGML_OP_RESHAPE:
            case GGML_OP_VIEW:
            case GGML_OP_PERMUTE:
            case GGML_OP_TRANSPOSE:
                return nullptr; // nothing is read
            default:
                break;
        }
        bool touches = is_packed(op);
        for (int i = 0; i < GGML_MAX_SRC && !touches; i++) {
            touches = is_packed(op->src[i]);
        }
        return touches ? &traits : nullptr;
    }
};

} // namespace ggml::cpu::q8_a8

// Weights of Q8_0 are taken whichever file they are from.
void ggml_backend_cpu_q8_a8_take_all(void) {
    ggml::cpu::q8_a8::takes_all = true;
}

// Called with each weight of a model before its tensors are created, and with NULL at the end.
void ggml_backend_cpu_q8_a8_expect(const ggml_tensor * weight) {
    using namespace ggml::cpu::q8_a8;
    static const bool is_known = [] { // as the buffer types are listed it is said whether weights of Q8_0 are taken
        ggml_backend_reg_t reg  = ggml_backend_cpu_reg();
        void *             list = ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
        return list && ((ggml_backend_dev_get_extra_bufts_t) list)(ggml_backend_reg_dev_get(reg, 0)) != nullptr;
    }();
    if (!is_known) {
        return;
    }
    if (!weight) {
        ahead().begin();
        return;
    }
#ifdef GGML_USE_CPU_KLEIDIAI
    const bool is_ours = weight->type != GGML_TYPE_Q8_0; // which of those are left to it turns out later
#else
    const bool is_ours = true;
#endif
    if (is_ours && is_wanted(weight)) {
        ahead().want(get_alloc_size(nullptr, weight));
    }
}

// Where weights lie in the machine's own layout. NULL on machines for which there are no kernels of our own.
ggml_backend_buffer_type_t ggml_backend_cpu_q8_a8_buffer_type(void) {
    static const bool is_worth_it = [] {
        using namespace ggml::cpu::q8_a8;
        const layout theirs = layout_of_kernels();
        GGML_ASSERT(theirs.act_block == LAYOUT.act_block && theirs.panel == LAYOUT.panel && theirs.group == LAYOUT.group &&
                    theirs.flip == LAYOUT.flip && "two files of one library were compiled for different machines");
        return ggml::cpu::q8_a8::is_worth_it();
    }();
    if (!is_worth_it) {
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
