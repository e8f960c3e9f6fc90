// A plugin of QEMU: instructions that a program executes, written to stderr at its end as "instructions N".
//   cc -shared -fPIC -O2 count.c -o count.so && qemu-aarch64 -plugin ./count.so PROGRAM
// Debian's qemu-user has no header for plugins; what is needed of the interface is declared here.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;

enum { ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb * tb);
void   qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void   qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb * tb, int operation, void * value, uint64_t add);
void   qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void * data);

int qemu_plugin_version = 1;

static uint64_t count;

static void translated(uint64_t id, struct qemu_plugin_tb * tb) {
    (void) id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &count, qemu_plugin_tb_n_insns(tb));
}

static void finished(uint64_t id, void * data) {
    (void) id;
    (void) data;
    fprintf(stderr, "instructions %llu\n", (unsigned long long) count);
}

int qemu_plugin_install(uint64_t id, const void * info, int argc, char ** argv) {
    (void) info;
    (void) argc;
    (void) argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
