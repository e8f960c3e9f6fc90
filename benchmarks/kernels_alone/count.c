// A plugin of QEMU: instructions that a program executes, written to stderr at its end as "multiplying N" and, in the
// last line, "instructions N".
//   cc -shared -fPIC -O2 count.c -o count.so && qemu-aarch64 -plugin ./count.so PROGRAM
// Multiplying are those that multiply many 8-bit numbers and add up the products: SDOT, SMMLA, SMOPA.
// Debian's qemu-user has no header for plugins; what is needed of the interface is declared here. From QEMU 9 on it is
// another one: compile with -DPER_PROCESSOR.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum { ADD_U64 = 0 };

size_t                    qemu_plugin_tb_n_insns(const struct qemu_plugin_tb * tb);
struct qemu_plugin_insn * qemu_plugin_tb_get_insn(const struct qemu_plugin_tb * tb, size_t i);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void * data);

#ifdef PER_PROCESSOR
int qemu_plugin_version = 4;

typedef struct {
    struct qemu_plugin_scoreboard * score;
    size_t                          offset;
} counter;

struct qemu_plugin_scoreboard * qemu_plugin_scoreboard_new(size_t size);
uint64_t                        qemu_plugin_u64_sum(counter entry);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn * insn, void * to, size_t size);
void   qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb * tb, int operation, counter entry, uint64_t add);

static counter count, multiplying;

static uint32_t code_of(const struct qemu_plugin_insn * insn) {
    uint32_t code = 0;
    qemu_plugin_insn_data(insn, &code, sizeof(code));
    return code;
}

static void add(struct qemu_plugin_tb * tb, counter * to, uint64_t n) {
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, ADD_U64, *to, n);
}

static uint64_t sum(const counter * of) {
    return qemu_plugin_u64_sum(*of);
}

static void begin(void) {
    count.score       = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    multiplying.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
}
#else
int qemu_plugin_version = 1;

typedef uint64_t counter;

const void * qemu_plugin_insn_data(const struct qemu_plugin_insn * insn);
void         qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb * tb, int operation, void * value, uint64_t add);

static counter count, multiplying;

static uint32_t code_of(const struct qemu_plugin_insn * insn) {
    uint32_t code;
    memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
    return code;
}

static void add(struct qemu_plugin_tb * tb, counter * to, uint64_t n) {
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, to, n);
}

static uint64_t sum(const counter * of) {
    return *of;
}

static void begin(void) {}
#endif

static int multiplies(uint32_t code) {
    return (code & 0xffe0fc00) == 0x4e809400 || // NEON: SDOT of vectors
           (code & 0xffc0f400) == 0x4f80e000 || // of a vector and four bytes
           (code & 0xffe0fc00) == 0x4e80a400 || // SMMLA
           (code & 0xffe0fc00) == 0x44800000 || // SVE: SDOT of vectors
           (code & 0xffe0fc00) == 0x44a00000 || // of a vector and four bytes
           (code & 0xffe0001c) == 0xa0800000 || // SME: SMOPA
           (code & 0xfff09078) == 0xc1509020;   // SDOT of four vectors and four bytes
}

static void translated(uint64_t id, struct qemu_plugin_tb * tb) {
    (void) id;
    const size_t n    = qemu_plugin_tb_n_insns(tb);
    size_t       many = 0;
    for (size_t i = 0; i < n; i++) {
        many += multiplies(code_of(qemu_plugin_tb_get_insn(tb, i)));
    }
    add(tb, &count, n);
    add(tb, &multiplying, many);
}

static void finished(uint64_t id, void * data) {
    (void) id;
    (void) data;
    fprintf(stderr, "multiplying %llu\n", (unsigned long long) sum(&multiplying));
    fprintf(stderr, "instructions %llu\n", (unsigned long long) sum(&count));
}

int qemu_plugin_install(uint64_t id, const void * info, int argc, char ** argv) {
    (void) info;
    (void) argc;
    (void) argv;
    begin();
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
