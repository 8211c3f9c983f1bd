/* A disk that fails: loaded first (LD_PRELOAD), this library makes reading, writing or syncing some
 * files fail with EIO.
 *
 * HEIRLOOM_DISK_FAULTS names a file of rules. Each line has a call (read, write, sync, sync-folder)
 * and a word: that call fails on files with the word in their path. `sync` fails on files and
 * folders, `sync-folder` on folders only. Without the file, every call succeeds. The file is read
 * again at every call, so that a disk can fail and recover. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int must_fail(const char *call, int descriptor)
{
    const char *rules_path = getenv("HEIRLOOM_DISK_FAULTS");
    char rules[4096], link[64], path[4096];
    int rules_file =
        rules_path ? (int)syscall(SYS_openat, AT_FDCWD, rules_path, O_RDONLY | O_CLOEXEC) : -1;
    if (rules_file < 0)
        return 0;
    long rules_length = syscall(SYS_read, rules_file, rules, sizeof rules - 1);
    syscall(SYS_close, rules_file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long path_length = readlink(link, path, sizeof path - 1);
    if (rules_length <= 0 || path_length <= 0)
        return 0;
    rules[rules_length] = path[path_length] = 0;
    for (char *rest = rules, *line; (line = strsep(&rest, "\n"));) {
        char *word = strchr(line, ' ');
        if (word && !strncmp(line, call, (size_t)(word - line)) && strstr(path, word + 1))
            return 1;
    }
    return 0;
}

static const char *sync_call(int descriptor)
{
    struct stat found;
    return !fstat(descriptor, &found) && S_ISDIR(found.st_mode) ? "sync-folder" : "sync";
}

#define FAILING(type, name, call, parameters, arguments)                      \
    type name parameters                                                      \
    {                                                                         \
        static type(*original) parameters;                                    \
        if (!original)                                                        \
            original = (type(*) parameters)dlsym(RTLD_NEXT, #name);           \
        int saved = errno;                                                    \
        if (must_fail(call, fd)) {                                            \
            errno = EIO;                                                      \
            return -1;                                                        \
        }                                                                     \
        errno = saved;                                                        \
        return original arguments;                                            \
    }

FAILING(ssize_t, read, "read", (int fd, void *to, size_t n), (fd, to, n))
FAILING(ssize_t, pread, "read", (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
FAILING(ssize_t, pread64, "read", (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
FAILING(ssize_t, write, "write", (int fd, const void *from, size_t n), (fd, from, n))
FAILING(ssize_t, pwrite, "write", (int fd, const void *from, size_t n, off_t at), (fd, from, n, at))
FAILING(ssize_t, pwrite64, "write", (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at))
FAILING(int, fsync, sync_call(fd), (int fd), (fd))
FAILING(int, fdatasync, "sync", (int fd), (fd))
