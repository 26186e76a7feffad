/* A disk that fails on command. For LD_PRELOAD.
 *
 * FAILING_DISK names a file; while it exists its words say what happens to files whose path ends with a suffix:
 *
 *     sync SUFFIX     fsync and fdatasync fail with EIO
 *     eio SUFFIX      writes fail with EIO
 *     full SUFFIX     writes fail with ENOSPC
 *     short SUFFIX    writes of more than a byte take half of what they are given, as they may
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is to happen to this file: a word of the above, or "". */
static void fault(int file, char word[16]) {
    char said[256] = "", suffix[224] = "", link[64], path[4096];
    const char *flag = getenv("FAILING_DISK");
    word[0] = 0;
    int control = flag ? open(flag, O_RDONLY | O_CLOEXEC) : -1;
    if (control < 0) return;
    ssize_t n = read(control, said, sizeof said - 1);
    close(control);
    if (n <= 0 || sscanf(said, "%15s %223s", word, suffix) != 2) { word[0] = 0; return; }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    n = readlink(link, path, sizeof path - 1);
    size_t length = strlen(suffix);
    if (n < (ssize_t)length || memcmp(path + n - length, suffix, length) != 0) word[0] = 0;
}

/* Whether a write is to fail, with errno set; else `n` is how much of it may be written. */
static int refused(int file, size_t *n) {
    char word[16];
    int before = errno;
    fault(file, word);
    errno = before;
    if (strcmp(word, "eio") == 0) { errno = EIO; return 1; }
    if (strcmp(word, "full") == 0) { errno = ENOSPC; return 1; }
    if (strcmp(word, "short") == 0 && *n > 1) *n /= 2;
    return 0;
}

ssize_t write(int file, const void *data, size_t n) {
    if (refused(file, &n)) return -1;
    return ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(file, data, n);
}

ssize_t pwrite(int file, const void *data, size_t n, off_t at) {
    if (refused(file, &n)) return -1;
    return ((ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite"))(file, data, n, at);
}

ssize_t pwrite64(int file, const void *data, size_t n, off64_t at) {
    if (refused(file, &n)) return -1;
    return ((ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64"))(file, data, n, at);
}

static int sync_fails(int file) {
    char word[16];
    fault(file, word);
    if (strcmp(word, "sync") != 0) return 0;
    errno = EIO;
    return 1;
}

int fsync(int file) {
    if (sync_fails(file)) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    if (sync_fails(file)) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
