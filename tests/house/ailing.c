/* A disk that ails: with this library loaded first (LD_PRELOAD), reading, writing or syncing some files fails with EIO.
 *
 * HEIRLOOM_AILS names a file. Each of its lines has a call (read, write, sync, sync-folder) and a word: that call fails on files with
 * the word in their path. What fails to be synced is a file or a folder, or with sync-folder a folder only. No such file: all is well. It is read anew at every call, so that a disk can fall ill and get well. */
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

static int ails(const char *call, int descriptor)
{
    const char *named = getenv("HEIRLOOM_AILS");
    char rules[4096], link[64], path[4096];
    int open_rules = named ? (int)syscall(SYS_openat, AT_FDCWD, named, O_RDONLY | O_CLOEXEC) : -1;
    if (open_rules < 0)
        return 0;
    long length = syscall(SYS_read, open_rules, rules, sizeof rules - 1);
    syscall(SYS_close, open_rules);
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long known = readlink(link, path, sizeof path - 1);
    if (length <= 0 || known <= 0)
        return 0;
    rules[length] = path[known] = 0;
    for (char *rest = rules, *line; (line = strsep(&rest, "\n"));) {
        char *word = strchr(line, ' ');
        if (word && !strncmp(line, call, (size_t)(word - line)) && strstr(path, word + 1))
            return 1;
    }
    return 0;
}

static const char *syncing(int descriptor)
{
    struct stat found;
    return !fstat(descriptor, &found) && S_ISDIR(found.st_mode) ? "sync-folder" : "sync";
}

#define AILING(type, name, call, parameters, arguments)                       \
    type name parameters                                                      \
    {                                                                         \
        static type(*well) parameters;                                        \
        if (!well)                                                            \
            well = (type(*) parameters)dlsym(RTLD_NEXT, #name);               \
        int kept = errno;                                                     \
        if (ails(call, descriptor)) {                                         \
            errno = EIO;                                                      \
            return -1;                                                        \
        }                                                                     \
        errno = kept;                                                         \
        return well arguments;                                                \
    }

AILING(ssize_t, read, "read", (int descriptor, void *to, size_t most), (descriptor, to, most))
AILING(ssize_t, pread, "read", (int descriptor, void *to, size_t most, off_t at), (descriptor, to, most, at))
AILING(ssize_t, pread64, "read", (int descriptor, void *to, size_t most, off64_t at), (descriptor, to, most, at))
AILING(ssize_t, write, "write", (int descriptor, const void *from, size_t most), (descriptor, from, most))
AILING(ssize_t, pwrite, "write", (int descriptor, const void *from, size_t most, off_t at), (descriptor, from, most, at))
AILING(ssize_t, pwrite64, "write", (int descriptor, const void *from, size_t most, off64_t at), (descriptor, from, most, at))
AILING(int, fsync, syncing(descriptor), (int descriptor), (descriptor))
AILING(int, fdatasync, "sync", (int descriptor), (descriptor))
