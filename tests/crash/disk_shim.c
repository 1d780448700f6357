/* Stands between a process and its disk: writes down what was written and synced, and fails on
 * demand. Preloaded by tests/crash/test_vector_disk.py; only files below DISK_FOLDER are looked at.
 *
 * DISK_LOG    file to which "write NAME" and "sync NAME" lines are appended
 * DISK_FAULT  file that says what fails, read at each call: "sync NAME ERRNO" or "write NAME ERRNO";
 *             NAME is the end of a file's name; a missing file lets all pass
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* The errno to fail with; 0 lets the call pass, and it is written down unless told otherwise. */
static int fault(const char *what, int file) {
    const char *folder = getenv("DISK_FOLDER");
    char link[64], path[4096], line[4200];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    const char *told = getenv("DISK_FAULT");
    if (told) {
        char text[256] = "", kind[16] = "", name[128] = "";
        int error = 0;
        int from = syscall(SYS_openat, AT_FDCWD, told, O_RDONLY | O_CLOEXEC, 0);
        if (from >= 0) {
            if (syscall(SYS_read, from, text, sizeof text - 1) > 0)
                sscanf(text, "%15s %127s %d", kind, name, &error);
            syscall(SYS_close, from);
        }
        if (error && strcmp(kind, what) == 0 && ends_with(path, name)) return error;
    }
    const char *log = getenv("DISK_LOG");
    if (log) {
        int to = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        int length = snprintf(line, sizeof line, "%s %s\n", what, strrchr(path, '/') + 1);
        if (to >= 0) {
            syscall(SYS_write, to, line, length);
            syscall(SYS_close, to);
        }
    }
    return 0;
}

#define PASS(type, name, what, declared, given)                      \
    type name declared {                                             \
        static type(*real) declared;                                 \
        if (!real) real = (type(*) declared)dlsym(RTLD_NEXT, #name); \
        int error = fault(what, file);                               \
        if (error) {                                                 \
            errno = error;                                           \
            return -1;                                               \
        }                                                            \
        return real given;                                           \
    }

PASS(int, fsync, "sync", (int file), (file))
PASS(int, fdatasync, "sync", (int file), (file))
PASS(ssize_t, write, "write", (int file, const void *data, size_t size), (file, data, size))
PASS(ssize_t, pwrite, "write", (int file, const void *data, size_t size, off_t at), (file, data, size, at))
PASS(ssize_t, pwrite64, "write", (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
