/* What changes a file system: write, delete, make, move. In the child, like all of files.c. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE /* musl names neither */
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static void get_roots(struct reader *r, struct roots *roots)
{
    roots->count = get_u32(r);
    if (roots->count > sizeof roots->at / sizeof *roots->at)
        fail(STAGE_REQUEST, EINVAL);
    for (uint32_t i = 0; i < roots->count; i++)
        roots->at[i] = get_str(r, PATH_BYTES - 1);
    if (r->bad)
        fail(STAGE_REQUEST, EINVAL);
}

static void place(const char *path, const struct roots *roots, bool follow, bool itself,
                  char resolved[PATH_BYTES])
{
    int error = path_resolve(path, follow, resolved);
    if (error)
        fail(STAGE_FILE, error);
    if (!path_within(resolved, roots, itself))
        fail(STAGE_OUTSIDE, EPERM);
}

static int open_temporary(const char *resolved)
{
    const char *name = strrchr(resolved, '/') + 1;
    int error = path_make_parents(resolved);
    if (error)
        fail(STAGE_FILE, error);
    int length = snprintf(temporary, PATH_BYTES, "%.*s.ork-%d-%ld", (int)(name - resolved), resolved,
                          (int)getpid(), (long)now_us());
    if (length >= PATH_BYTES) {
        temporary[0] = 0;
        fail(STAGE_FILE, ENAMETOOLONG);
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        temporary[0] = 0;
        fail(STAGE_FILE, errno);
    }
    return fd;
}

static void write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno != EINTR)
            fail(STAGE_FILE, errno);
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        }
    }
}

/* All of a small file that is about to be replaced; how much it is, or -1. */
static ssize_t replaced(const char *resolved, struct stat *st, uint8_t bytes[TELL_MAX + 1])
{
    ssize_t length = 0, n = 0;
    int fd = open(resolved, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || st->st_size > TELL_MAX)
        length = -1;
    while (length >= 0 && length <= TELL_MAX &&
           (n = read(fd, bytes + length, (size_t)(TELL_MAX + 1 - length))) > 0)
        length += n;
    close(fd);
    return n < 0 || length > TELL_MAX ? -1 : length; /* it may have grown since */
}

static void tell_replaced(const char *resolved, bool is_there, struct stat *st)
{
    static uint8_t bytes[TELL_MAX + 1];
    ssize_t length = is_there ? replaced(resolved, st, bytes) : -1;
    answer_ready(is_there ? st : NULL, bytes, length);
}

/* Whether a path still is what it was; `was` is NULL where there was nothing. */
static bool is_same(const char *resolved, const struct stat *was)
{
    struct stat st;
    if (lstat(resolved, &st) < 0)
        return !was;
    return was && st.st_ino == was->st_ino && st.st_size == was->st_size &&
           st.st_mtim.tv_sec == was->st_mtim.tv_sec && st.st_mtim.tv_nsec == was->st_mtim.tv_nsec;
}

static int rename_with(unsigned int how, const char *from, const char *to)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, how);
}

/* Renames only over what was there. Exchanging first leaves no moment in which another's file could
 * come in between and be lost. File systems that cannot exchange get as near as they can. */
static int rename_over_same(const char *resolved, const struct stat *was)
{
    if (!is_same(resolved, was))
        fail(STAGE_CHANGED, EBUSY);
    if (rename_with(was ? RENAME_EXCHANGE : RENAME_NOREPLACE, temporary, resolved) < 0) {
        if (errno == EEXIST || (was && errno == ENOENT))
            fail(STAGE_CHANGED, EBUSY);
        return errno == EINVAL || errno == ENOSYS ? rename(temporary, resolved) : -1;
    }
    if (was && !is_same(temporary, was)) {
        rename_with(RENAME_EXCHANGE, temporary, resolved);
        fail(STAGE_CHANGED, EBUSY);
    }
    return was ? unlink(temporary) : 0;
}

static void put_in_place(int fd, uint32_t mode, const char *resolved, const struct stat *was)
{
    struct stat st;
    if (fchmod(fd, mode & 07777) < 0 || fstat(fd, &st) < 0)
        fail(STAGE_FILE, errno);
    if ((mode & WRITE_SAME ? rename_over_same(resolved, was) : rename(temporary, resolved)) < 0)
        fail(STAGE_FILE, errno);
    temporary[0] = 0;
    answer_meta(&st);
}

void write_file(struct reader *r)
{
    static uint8_t bytes[FILE_CHUNK_MAX];
    char resolved[PATH_BYTES];
    struct roots roots;
    struct stat st;
    uint8_t type = REQ_DATA;
    uint64_t size = get_u64(r), total = 0;
    uint32_t mode = get_u32(r);
    const char *path = get_str(r, PATH_BYTES - 1);
    get_roots(r, &roots);
    place(path, &roots, true, false, resolved);
    bool is_there = lstat(resolved, &st) == 0;
    if (path[strlen(path) - 1] == '/' || (is_there && S_ISDIR(st.st_mode)))
        fail(STAGE_FILE, EISDIR);
    if (is_there && !S_ISREG(st.st_mode))
        fail(STAGE_KIND, 0);
    int fd = open_temporary(resolved);
    if (mode & WRITE_TELL)
        tell_replaced(resolved, is_there, &st);
    else
        answer(ANS_READY, NULL, 0);
    for (;;) {
        size_t length = receive_frame(&type, bytes);
        total += length;
        if (type != REQ_DATA || total > size)
            break;
        write_all(fd, bytes, length);
    }
    if (type != REQ_END || total != size)
        fail(STAGE_REQUEST, EINVAL);
    put_in_place(fd, mode, resolved, is_there ? &st : NULL);
}

void delete_file(struct reader *r)
{
    char resolved[PATH_BYTES];
    struct roots roots;
    struct stat st;
    const char *path = get_str(r, PATH_BYTES - 1);
    get_roots(r, &roots);
    place(path, &roots, false, false, resolved);
    if (lstat(resolved, &st) < 0)
        fail(STAGE_FILE, errno);
    if (S_ISDIR(st.st_mode))
        fail(STAGE_FILE, EISDIR);
    if (unlink(resolved) < 0)
        fail(STAGE_FILE, errno);
    answer_meta(&st);
}

void make_directory(struct reader *r)
{
    char resolved[PATH_BYTES];
    struct roots roots;
    struct stat st;
    bool parents = get_u32(r) != 0;
    const char *path = get_str(r, PATH_BYTES - 1);
    get_roots(r, &roots);
    place(path, &roots, true, true, resolved);
    int error = parents ? path_make_parents(resolved) : 0;
    if (error)
        fail(STAGE_FILE, error);
    bool made = mkdir(resolved, 0755) == 0;
    error = errno;
    if (!made && !(parents && error == EEXIST))
        fail(STAGE_FILE, error);
    if (stat(resolved, &st) < 0)
        fail(STAGE_FILE, errno);
    if (!S_ISDIR(st.st_mode))
        fail(STAGE_FILE, EEXIST);
    answer_meta(&st);
}

/* From one file system to another only a regular file goes, as a copy. */
static void move_by_copy(const char *source, const char *destination, const struct stat *st)
{
    static uint8_t bytes[CHUNK_MAX];
    ssize_t n;
    if (!S_ISREG(st->st_mode))
        fail(STAGE_FILE, EXDEV);
    int from = open(source, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        fail(STAGE_FILE, errno);
    int to = open_temporary(destination);
    while ((n = read(from, bytes, sizeof bytes)) > 0) {
        still_moving();
        write_all(to, bytes, (size_t)n);
    }
    if (n < 0 || fchmod(to, st->st_mode & 07777) < 0 || rename(temporary, destination) < 0)
        fail(STAGE_FILE, errno);
    temporary[0] = 0;
    if (unlink(source) < 0)
        fail(STAGE_FILE, errno);
}

void move_path(struct reader *r)
{
    char source[PATH_BYTES], destination[PATH_BYTES];
    struct roots roots;
    struct stat st, there;
    const char *from = get_str(r, PATH_BYTES - 1), *to = get_str(r, PATH_BYTES - 1);
    get_roots(r, &roots);
    place(from, &roots, false, false, source);
    place(to, &roots, false, false, destination);
    if (lstat(source, &st) < 0)
        fail(STAGE_FILE, errno);
    if (lstat(destination, &there) == 0 && S_ISDIR(there.st_mode))
        fail(STAGE_FILE, EEXIST);
    int error = path_make_parents(destination);
    if (error)
        fail(STAGE_FILE, error);
    if (rename(source, destination) < 0) {
        if (errno != EXDEV)
            fail(STAGE_FILE, errno);
        move_by_copy(source, destination, &st);
    }
    answer_meta(&st);
}
