/* Stands before libc's calls that write. At the call whose turn it is it sends a signal, or makes the call fail.
 *
 *     cc -shared -fPIC -O1 -o shim.so shim.c -ldl; LD_PRELOAD=./shim.so python ...
 *
 * Counted are the calls of this process that open for writing, write to a regular file, sync, rename, link, unlink,
 * make and remove folders, change lengths and permissions, and lock. What it starts (git, compilers) isn't counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, COUNT, SIGNAL, ERROR, ERROR_FROM_HERE };
static int what = OFF, value;
static long turn, seen;
static char names[8192][12];

void shim_arm(int kind, int number, long when) { what = kind; value = number; turn = when; seen = 0; }
long shim_seen(void) { long n = seen; what = OFF; return n; }
const char *shim_name(long n) { return names[n]; }

/* Whether the call is to fail, errno set. A full disk that stays full still lets names go. */
static int strike(const char *name, int takes_room) {
    if (what == OFF) return 0;
    seen++;
    if (seen < (long)(sizeof names / sizeof *names)) strncpy(names[seen], name, sizeof *names - 1);
    if (what == SIGNAL && seen == turn) kill(getpid(), value);
    if ((what == ERROR && seen == turn) || (what == ERROR_FROM_HERE && seen >= turn && takes_room)) {
        errno = value;
        return 1;
    }
    return 0;
}

static int regular(int fd) {
    struct stat s;
    int kept = errno, yes = fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
    errno = kept;
    return yes;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

#define OPEN(symbol) int symbol(const char *path, int flags, ...) { \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    REAL(int, #symbol, const char *, int, ...); \
    if (writes(flags) && strncmp(path, "/dev/", 5) && strike("open", 1)) return -1; \
    return real(path, flags, mode); }
OPEN(open)
OPEN(open64)
#define OPENAT(symbol) int symbol(int at, const char *path, int flags, ...) { \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    REAL(int, #symbol, int, const char *, int, ...); \
    if (writes(flags) && strncmp(path, "/dev/", 5) && strike("open", 1)) return -1; \
    return real(at, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (fd > 2 && regular(fd) && strike("write", 1)) return -1;
    return real(fd, data, size);
}

#define CALL(type, symbol, label, room, parameters, arguments) type symbol parameters { \
    static type (*real) parameters; if (!real) real = (type (*) parameters)dlsym(RTLD_NEXT, #symbol); \
    if (strike(label, room)) return -1; \
    return real arguments; }
CALL(int, fsync, "fsync", 0, (int fd), (fd))
CALL(int, fdatasync, "fsync", 0, (int fd), (fd))
CALL(int, rename, "rename", 0, (const char *a, const char *b), (a, b))
CALL(int, renameat, "rename", 0, (int f, const char *a, int t, const char *b), (f, a, t, b))
CALL(int, link, "link", 1, (const char *a, const char *b), (a, b))
CALL(int, linkat, "link", 1, (int f, const char *a, int t, const char *b, int flags), (f, a, t, b, flags))
CALL(int, symlink, "symlink", 1, (const char *a, const char *b), (a, b))
CALL(int, unlink, "unlink", 0, (const char *a), (a))
CALL(int, unlinkat, "unlink", 0, (int f, const char *a, int flags), (f, a, flags))
CALL(int, rmdir, "rmdir", 0, (const char *a), (a))
CALL(int, mkdir, "mkdir", 1, (const char *a, mode_t mode), (a, mode))
CALL(int, mkdirat, "mkdir", 1, (int f, const char *a, mode_t mode), (f, a, mode))
CALL(int, ftruncate, "truncate", 1, (int fd, off_t size), (fd, size))
CALL(int, ftruncate64, "truncate", 1, (int fd, off64_t size), (fd, size))
CALL(int, fchmod, "chmod", 0, (int fd, mode_t mode), (fd, mode))
CALL(int, chmod, "chmod", 0, (const char *a, mode_t mode), (a, mode))
CALL(int, fchown, "chown", 0, (int fd, uid_t u, gid_t g), (fd, u, g))
CALL(int, flock, "flock", 0, (int fd, int how), (fd, how))
