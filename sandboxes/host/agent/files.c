/* File operations, in a child of the agent that may block. Every step re-arms an alarm, so one that
 * gets nowhere dies and its caller hears of it; later than the host, which can say why. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SOCKET = 3, STALL_SECONDS = 90, NAMES_MAX = 10000 };

char temporary[PATH_BYTES];

_Noreturn void leave(void)
{
    if (temporary[0])
        unlink(temporary);
    _exit(0);
}

static void stalled(int number)
{
    (void)number;
    leave();
}

void still_moving(void) { alarm(STALL_SECONDS); }

/* ---- frames, blocking --------------------------------------------------------------------- */

static void send_all(const uint8_t *bytes, size_t length)
{
    still_moving();
    while (length) {
        ssize_t n = send(SOCKET, bytes, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            leave();
        bytes += n;
        length -= (size_t)n;
    }
}

void answer(uint8_t type, const uint8_t *payload, size_t length)
{
    static uint8_t frame[5 + CHUNK_MAX];
    put_frame_head(frame, type, length);
    if (length)
        memcpy(frame + 5, payload, length);
    send_all(frame, 5 + length);
}

static void close_all_but_socket(void)
{
    if (syscall(SYS_close_range, SOCKET + 1, ~0U, 0) < 0)
        for (int fd = SOCKET + 1; fd < 4096; fd++)
            close(fd);
}

/* A socket closed with something unread in it takes our last answer along. */
static void await_hangup(void)
{
    uint8_t waste[4096];
    shutdown(SOCKET, SHUT_WR);
    while (recv(SOCKET, waste, sizeof waste, 0) > 0)
        ;
}

_Noreturn void fail(enum stage stage, int error)
{
    struct writer w = {.length = 0};
    put_u8(&w, (uint8_t)stage);
    put_u32(&w, (uint32_t)error);
    if (temporary[0])
        unlink(temporary);
    temporary[0] = 0;
    close_all_but_socket(); /* what was half written takes no space while the caller reads this */
    answer(ANS_ERROR, w.bytes, w.length);
    await_hangup();
    leave();
}

static void receive_all(uint8_t *bytes, size_t length)
{
    still_moving();
    while (length) {
        ssize_t n = recv(SOCKET, bytes, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            leave();
        bytes += n;
        length -= (size_t)n;
    }
}

size_t receive_frame(uint8_t *type, uint8_t bytes[FILE_CHUNK_MAX])
{
    uint8_t head[5];
    receive_all(head, sizeof head);
    struct reader r = {head, head + 4, false};
    size_t length = get_u32(&r);
    if (length > FILE_CHUNK_MAX)
        leave();
    receive_all(bytes, length);
    *type = head[4];
    return length;
}

/* ---- what is there ------------------------------------------------------------------------ */

static uint64_t modified_us(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000 + (uint64_t)st->st_mtim.tv_nsec / 1000;
}

static void put_meta(struct writer *w, const struct stat *st)
{
    put_u8(w, !st ? 'n' : S_ISREG(st->st_mode) ? 'f' : S_ISDIR(st->st_mode) ? 'd' : 'o');
    put_u64(w, st ? (uint64_t)st->st_size : 0);
    put_u32(w, st ? st->st_mode & 07777 : 0);
    put_u64(w, st ? modified_us(st) : 0);
}

void answer_meta(const struct stat *st)
{
    struct writer w = {.length = 0};
    put_meta(&w, st);
    answer(ANS_META, w.bytes, w.length);
}

void answer_ready(const struct stat *st, const uint8_t *content, ssize_t length)
{
    struct writer w = {.length = 0};
    uint8_t head[5];
    put_meta(&w, st);
    put_u8(&w, length >= 0);
    put_frame_head(head, ANS_READY, w.length + (length > 0 ? (size_t)length : 0));
    send_all(head, sizeof head);
    send_all(w.bytes, w.length);
    if (length > 0)
        send_all(content, (size_t)length);
}

static void stat_path(struct reader *r)
{
    struct stat st;
    const char *path = get_str(r, PATH_BYTES - 1);
    if (r->bad)
        fail(STAGE_REQUEST, EINVAL);
    if (stat(path, &st) == 0 || lstat(path, &st) == 0)
        answer_meta(&st);
    else if (errno == ENOENT || errno == ENOTDIR)
        answer_meta(NULL);
    else
        fail(STAGE_FILE, errno);
}

/* ---- reading ------------------------------------------------------------------------------ */

static size_t pack_name(uint8_t *to, const char *name, const struct stat *st)
{
    struct writer w = {.length = 0};
    size_t length = strlen(name);
    put_u8(&w, S_ISDIR(st->st_mode));
    put_u64(&w, (uint64_t)st->st_size);
    put_u32(&w, st->st_mode & 07777);
    put_u64(&w, modified_us(st));
    put_u32(&w, (uint32_t)length);
    memcpy(to, w.bytes, w.length);
    memcpy(to + w.length, name, length + 1);
    return w.length + length + 1;
}

static void list_directory(int fd)
{
    static uint8_t run[CHUNK_MAX];
    size_t used = 0;
    uint8_t truncated = 0;
    struct stat st;
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    if (!directory)
        fail(STAGE_FILE, errno);
    for (int count = 0; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (count++ == NAMES_MAX) {
            truncated = 1;
            break;
        }
        if (fstatat(fd, entry->d_name, &st, 0) < 0 &&
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (used > sizeof run - 512) {
            answer(ANS_NAME, run, used);
            used = 0;
        }
        used += pack_name(run + used, entry->d_name, &st);
    }
    if (used)
        answer(ANS_NAME, run, used);
    answer(ANS_END, &truncated, 1);
}

static void send_content(int fd, uint64_t limit)
{
    static uint8_t frame[5 + FILE_CHUNK_MAX];
    uint64_t total = 0;
    ssize_t n;
    while ((n = read(fd, frame + 5, FILE_CHUNK_MAX)) > 0) {
        total += (uint64_t)n;
        if (limit && total > limit)
            fail(STAGE_LARGE, EFBIG);
        put_frame_head(frame, ANS_DATA, (size_t)n);
        send_all(frame, 5 + (size_t)n);
    }
    if (n < 0)
        fail(STAGE_FILE, errno);
    answer(ANS_END, (const uint8_t *)"", 1);
}

/* Looks before it opens: opening a FIFO or a device may already do something. */
static void read_path(struct reader *r)
{
    struct stat st;
    uint64_t limit = get_u64(r), from = get_u64(r);
    const char *path = get_str(r, PATH_BYTES - 1);
    if (r->bad)
        fail(STAGE_REQUEST, EINVAL);
    if (stat(path, &st) < 0)
        fail(STAGE_FILE, errno);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        fail(STAGE_KIND, 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        fail(STAGE_FILE, errno);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        fail(STAGE_KIND, 0);
    if (S_ISREG(st.st_mode) && limit && (uint64_t)st.st_size > limit)
        fail(STAGE_LARGE, EFBIG);
    if (from > (uint64_t)st.st_size)
        from = (uint64_t)st.st_size;
    if (S_ISREG(st.st_mode) && from && lseek(fd, (off_t)from, SEEK_SET) < 0)
        fail(STAGE_FILE, errno);
    answer_meta(&st);
    if (S_ISDIR(st.st_mode))
        list_directory(fd);
    else
        send_content(fd, limit);
}

/* ------------------------------------------------------------------------------------------- */

/* Pipes of commands and other callers' connections must not stay open because we live. */
static void keep_only(int socket)
{
    if (socket != SOCKET && dup2(socket, SOCKET) < 0)
        _exit(1);
    close_all_but_socket();
    fcntl(SOCKET, F_SETFL, 0);
}

_Noreturn void file_operation(int socket, uint8_t type, struct reader *r)
{
    sigset_t none;
    keep_only(socket);
    signal(SIGALRM, stalled);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(STALL_SECONDS);
    umask(022);
    switch (type) {
    case REQ_READ: read_path(r); break;
    case REQ_WRITE: write_file(r); break;
    case REQ_DELETE: delete_file(r); break;
    case REQ_MKDIR: make_directory(r); break;
    case REQ_MOVE: move_path(r); break;
    default: stat_path(r);
    }
    leave();
}
