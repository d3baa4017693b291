/* What a command writes, kept until the host says it is safe. A full ring is not read into, so the
 * pipe fills and the command waits: that is what pipes do. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int drain_count;

bool output_open(struct command *k)
{
    void *ring = mmap(NULL, RING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    k->ring = ring == MAP_FAILED ? NULL : ring;
    return k->ring != NULL;
}

void output_close(struct command *k)
{
    source_close(&k->out.source);
    source_close(&k->err.source);
    if (k->ring)
        munmap(k->ring, RING_SIZE);
    k->ring = NULL;
}

/* ---- into the ring ------------------------------------------------------------------------ */

static size_t room(const struct command *k)
{
    size_t ring = k->terminal ? TERMINAL_RING : RING_SIZE, held = k->written - k->acknowledged;
    return held < ring ? ring - held : 0;
}

static bool has_room(const struct command *k) { return room(k) && k->segment_count < SEGMENTS; }

bool output_stalled(const struct command *k)
{
    return !has_room(k) && (k->out.source.fd >= 0 || k->err.source.fd >= 0);
}

void output_watch(struct command *k)
{
    uint32_t wanted = has_room(k) ? EPOLLIN : 0;
    source_watch(&k->out.source, wanted);
    source_watch(&k->err.source, wanted);
}

static void add_segment(struct command *k, uint8_t stream, size_t bytes)
{
    size_t last = (k->segment_first + k->segment_count + SEGMENTS - 1) % SEGMENTS;
    k->written += bytes;
    if (k->segment_count && k->segments[last].stream == stream) {
        k->segments[last].end = k->written;
        return;
    }
    last = (k->segment_first + k->segment_count++) % SEGMENTS;
    k->segments[last] = (struct segment){.end = k->written, .stream = stream};
}

/* After the grace a pipe still held by somebody in the background gives what was in it, no more. */
static size_t take_at_most(struct pipe_end *end)
{
    struct command *k = end->command;
    if (k->acknowledged == k->written)
        k->base = k->written; /* an empty ring starts over, so a quiet command touches one page */
    size_t at = (k->written - k->base) % RING_SIZE;
    size_t most = RING_SIZE - at < room(k) ? RING_SIZE - at : room(k);
    if (most > 64 * 1024)
        most = 64 * 1024;
    if (end->budget >= 0 && (int64_t)most > end->budget)
        most = (size_t)end->budget;
    return most;
}

void output_ready(struct source *source, uint32_t events)
{
    struct pipe_end *end = (struct pipe_end *)source;
    struct command *k = end->command;
    size_t most = take_at_most(end);
    ssize_t n = 0;
    (void)events;
    if (most) {
        n = read(source->fd, k->ring + (k->written - k->base) % RING_SIZE, most);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
    }
    if (n <= 0) { /* the end; a terminal says EIO */
        source_close(source);
    } else {
        end->total += (uint64_t)n;
        end->budget -= end->budget >= 0 ? n : 0;
        add_segment(k, end->stream, (size_t)n);
    }
    output_watch(k);
    command_settle(k);
    command_pump(k);
}

/* ---- out of the ring ---------------------------------------------------------------------- */

void output_acknowledge(struct command *k, uint64_t offset)
{
    bool stalled = output_stalled(k);
    k->acknowledged = offset;
    if (k->sent < offset)
        k->sent = offset;
    while (k->segment_count && k->segments[k->segment_first].end <= offset) {
        k->segment_first = (k->segment_first + 1) % SEGMENTS;
        k->segment_count--;
    }
    if (stalled && k->grace_ms)
        k->grace_ms = now_ms() + GRACE_MS;
    output_watch(k);
}

static const struct segment *segment_at(const struct command *k, uint64_t offset)
{
    for (size_t i = 0; i < k->segment_count; i++) {
        const struct segment *s = &k->segments[(k->segment_first + i) % SEGMENTS];
        if (s->end > offset)
            return s;
    }
    __builtin_trap();
}

static void send_some(struct command *k)
{
    static uint8_t frame[9 + CHUNK_MAX];
    const struct segment *s = segment_at(k, k->sent);
    struct writer w = {.length = 0};
    size_t at = (k->sent - k->base) % RING_SIZE, length = s->end - k->sent;
    if (length > CHUNK_MAX)
        length = CHUNK_MAX;
    if (length > RING_SIZE - at)
        length = RING_SIZE - at;
    put_u8(&w, s->stream);
    put_u64(&w, k->sent);
    memcpy(frame, w.bytes, w.length);
    memcpy(frame + w.length, k->ring + at, length);
    k->sent += length;
    send_frame(k->follower, ANS_OUTPUT, frame, w.length + length);
}

static void send_exited(struct command *k)
{
    struct writer w = {.length = 0};
    bool signaled = (k->status & 0x7f) != 0;
    int64_t cpu = (int64_t)(k->usage.ru_utime.tv_sec + k->usage.ru_stime.tv_sec) * 1000000 +
                  k->usage.ru_utime.tv_usec + k->usage.ru_stime.tv_usec;
    put_u8(&w, signaled ? 's' : 'e');
    put_u32(&w, signaled ? k->status & 0x7f : (k->status >> 8) & 0xff);
    put_u8(&w, k->timed_out);
    put_u64(&w, (uint64_t)(k->exited_us - k->started_us));
    put_u64(&w, (uint64_t)cpu);
    put_u64(&w, (uint64_t)k->usage.ru_maxrss * 1024);
    put_u64(&w, k->out.total);
    put_u64(&w, k->err.total);
    k->exit_sent = true;
    send_frame(k->follower, ANS_EXITED, w.bytes, w.length);
}

/* Sends until the socket is full; one frame is all that ever waits in the connection. */
void command_pump(struct command *k)
{
    while (k->follower && !k->follower->broken && !has_unsent(k->follower) && k->sent < k->written)
        send_some(k);
    if (k->follower && !k->follower->broken && k->ended && k->sent == k->written && !k->exit_sent)
        send_exited(k);
}

/* ---- afterwards --------------------------------------------------------------------------- */

/* A server started in the background must not die of SIGPIPE because its starter ended: what it
 * writes later is read and thrown away. */
static void drain_ready(struct source *source, uint32_t events)
{
    static uint8_t waste[4096];
    ssize_t n = read(source->fd, waste, sizeof waste);
    (void)events;
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    source_close(source);
    free(source);
    drain_count--;
}

static void leave_pipe(struct pipe_end *end, bool held)
{
    held = held && end->source.fd >= 0 && drain_count < DRAINS_MAX;
    struct source *drain = held ? calloc(1, sizeof *drain) : NULL;
    if (drain) {
        source_watch(&end->source, 0);
        drain->fd = end->source.fd;
        drain->ready = drain_ready;
        end->source.fd = -1;
        drain_count++;
        source_watch(drain, EPOLLIN);
    }
    source_close(&end->source);
}

/* The grace is over: give each pipe the bytes it holds now, then leave it. */
static bool spent(struct pipe_end *end)
{
    int held = 0;
    if (end->source.fd < 0)
        return true;
    if (end->budget < 0)
        end->budget = ioctl(end->source.fd, FIONREAD, &held) == 0 ? held : 0;
    return end->budget == 0;
}

void output_finish(struct command *k)
{
    bool out = spent(&k->out), err = spent(&k->err);
    if (out)
        leave_pipe(&k->out, !k->terminal);
    if (err)
        leave_pipe(&k->err, !k->terminal);
}

/* What it writes from now on is read and thrown away, a terminal's as well. */
void output_release(struct command *k)
{
    leave_pipe(&k->out, true);
    leave_pipe(&k->err, true);
}
