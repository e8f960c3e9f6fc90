// AMX's tiles in software, for machines without them: included before all else, it takes the place of the intrinsics
// and of the kernel's permission. Whatever the processor would fault at ends the program with exit code 3.

#pragma once

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace amx_emulation {

struct tile_state {
    bool     configured = false;
    uint8_t  config[64] = {};
    uint8_t  data[8][16][64];

    int rows(int t) const { return config[48 + t]; }

    int row_bytes(int t) const { return config[16 + 2 * t] | config[17 + 2 * t] << 8; }
};

inline thread_local tile_state tiles;

[[noreturn]] inline void fault(const char * what) {
    fprintf(stderr, "AMX fault: %s\n", what);
    exit(3);
}

inline void use(int t) {
    if (!tiles.configured) {
        fault("no tiles are configured");
    }
    if (t < 0 || t > 7 || !tiles.rows(t) || !tiles.row_bytes(t)) {
        fault("a tile that has no rows");
    }
}

inline void load_config(const void * source) {
    uint8_t config[64];
    memcpy(config, source, sizeof(config));
    if (config[0] != 1) {
        fault("palette");
    }
    for (int i = 2; i < 16; i++) {
        if (config[i]) {
            fault("a reserved byte");
        }
    }
    memcpy(tiles.config, config, sizeof(config));
    for (int t = 0; t < 8; t++) {
        if (tiles.rows(t) > 16 || tiles.row_bytes(t) > 64 || !tiles.rows(t) != !tiles.row_bytes(t)) {
            fault("a tile's shape");
        }
    }
    for (int i = 32; i < 48; i++) {
        if (config[i]) {
            fault("row bytes of a tile beyond the last");
        }
    }
    tiles.configured = true;
    memset(tiles.data, 0, sizeof(tiles.data));
}

inline void store_config(void * to) {
    if (tiles.configured) {
        memcpy(to, tiles.config, sizeof(tiles.config));
    } else {
        memset(to, 0, sizeof(tiles.config));
    }
}

inline void release() {
    tiles = {};
}

inline void zero(int t) {
    use(t);
    memset(tiles.data[t], 0, sizeof(tiles.data[t]));
}

inline void load(int t, const void * base, int64_t stride) {
    zero(t);
    for (int r = 0; r < tiles.rows(t); r++) {
        memcpy(tiles.data[t][r], (const char *) base + r * stride, tiles.row_bytes(t));
    }
}

inline void store(int t, void * base, int64_t stride) {
    use(t);
    for (int r = 0; r < tiles.rows(t); r++) {
        memcpy((char *) base + r * stride, tiles.data[t][r], tiles.row_bytes(t));
    }
}

// sums += signed bytes of a times unsigned bytes of b
inline void multiply(int sums, int a, int b) {
    use(sums);
    use(a);
    use(b);
    if (tiles.rows(sums) != tiles.rows(a) || tiles.row_bytes(sums) != tiles.row_bytes(b) ||
        tiles.row_bytes(a) != 4 * tiles.rows(b) || sums == a || sums == b || a == b) {
        fault("shapes that don't fit");
    }
    for (int i = 0; i < tiles.rows(sums); i++) {
        for (int k = 0; k < tiles.rows(b); k++) {
            for (int j = 0; j < tiles.row_bytes(b) / 4; j++) {
                int32_t sum;
                memcpy(&sum, tiles.data[sums][i] + 4 * j, sizeof(sum));
                for (int l = 0; l < 4; l++) {
                    sum += (int8_t) tiles.data[a][i][4 * k + l] * (int32_t) tiles.data[b][k][4 * j + l];
                }
                memcpy(tiles.data[sums][i] + 4 * j, &sum, sizeof(sum));
            }
        }
    }
}

// of arch_prctl
inline long permission(long, int, int) {
    return 0;
}

} // namespace amx_emulation

#undef _tile_loadconfig
#undef _tile_storeconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#define _tile_loadconfig  amx_emulation::load_config
#define _tile_storeconfig amx_emulation::store_config
#define _tile_release     amx_emulation::release
#define _tile_zero        amx_emulation::zero
#define _tile_loadd       amx_emulation::load
#define _tile_stored      amx_emulation::store
#define _tile_dpbsud      amx_emulation::multiply
#define syscall           amx_emulation::permission
