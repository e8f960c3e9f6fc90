/* A plugin for qemu-user: counts the guest's instructions and writes the sum to the file of out=FILE.
 *
 * The few declarations of qemu's plugin interface that are used stand here, because distributions ship
 * qemu without its header. The interface's version is given when this is compiled. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*tb_trans_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*exec_cb)(unsigned int vcpu, void *data);
typedef void (*exit_cb)(qemu_plugin_id_t id, void *data);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_cb cb, int flags, void *data);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, exit_cb cb, void *data);

#define EXPORT __attribute__((visibility("default")))
enum { NO_REGISTERS = 0 };

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t count;
static char *out;

static void executed(unsigned int vcpu, void *data) {
    (void) vcpu;
    __atomic_fetch_add(&count, (uint64_t) (uintptr_t) data, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void) id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS, (void *) (uintptr_t) qemu_plugin_tb_n_insns(tb));
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void) id;
    (void) data;
    FILE *file = fopen(out, "w");
    if (file != NULL) {
        fprintf(file, "%llu\n", (unsigned long long) count);
        fclose(file);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void) info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = strdup(argv[i] + 4);
        }
    }
    if (out == NULL) {
        fprintf(stderr, "instruction_count: out=FILE is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
