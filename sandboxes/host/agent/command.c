/* Commands: from their start to the moment the host has taken note of their end. */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct command *commands;
static int command_count;

struct command *command_find(const char *id)
{
    for (struct command *k = commands; k; k = k->next)
        if (!k->forgotten && !strcmp(k->id, id))
            return k;
    return NULL;
}

static void command_free(struct command *k)
{
    for (struct command **at = &commands; *at; at = &(*at)->next)
        if (*at == k) {
            *at = k->next;
            command_count--;
            break;
        }
    if (k->follower)
        k->follower->follows = NULL;
    input_drop(k);
    output_close(k);
    free(k);
}

static void follow(struct command *k, struct connection *c)
{
    struct writer w = {.length = 0};
    if (k->follower) {
        k->follower->follows = NULL;
        k->follower->broken = true;
    }
    k->follower = c;
    k->exit_sent = false;
    c->follows = k;
    put_u32(&w, (uint32_t)k->pid);
    put_u64(&w, k->acknowledged);
    send_frame(c, ANS_STARTED, w.bytes, w.length);
    command_pump(k);
}

/* ---- requests ----------------------------------------------------------------------------- */

static struct command *command_new(const char *id)
{
    struct command *k = command_count < COMMANDS_MAX ? calloc(1, sizeof *k) : NULL;
    if (!k) {
        errno = EAGAIN;
        return NULL;
    }
    strcpy(k->id, id);
    k->input.fd = k->out.source.fd = k->err.source.fd = -1;
    k->input.ready = input_ready;
    k->out = (struct pipe_end){{-1, 0, output_ready}, k, STDOUT_STREAM, 0, -1};
    k->err = (struct pipe_end){{-1, 0, output_ready}, k, STDERR_STREAM, 0, -1};
    k->next = commands;
    commands = k;
    command_count++;
    if (output_open(k))
        return k;
    command_free(k);
    errno = ENOMEM;
    return NULL;
}

static void start(struct connection *c, const char *id, const struct launch *launch, uint64_t timeout_ms)
{
    struct command *k = command_new(id);
    enum stage stage = k ? spawn_shell(k, launch) : STAGE_FORK;
    int error = errno;
    if (!k || stage) {
        if (k)
            command_free(k);
        send_error(c, stage, error);
        return;
    }
    k->started_us = now_us();
    if (timeout_ms)
        k->deadline_ms = now_ms() + (int64_t)timeout_ms;
    output_watch(k);
    follow(k, c);
}

void command_spawn(struct connection *c, struct reader *r)
{
    static char *env[ENV_MAX + 1];
    struct launch launch = {.env = env, .flags = get_u32(r)};
    uint64_t timeout_ms = get_u64(r);
    launch.rows = get_u16(r);
    launch.columns = get_u16(r);
    const char *id = get_str(r, ID_MAX);
    launch.cwd = get_str(r, PATH_BYTES - 1);
    launch.text = get_str(r, FRAME_MAX);
    uint32_t count = get_u32(r);
    for (uint32_t i = 0; i < count && i < ENV_MAX && !r->bad; i++)
        env[i] = get_str(r, FRAME_MAX);
    env[count < ENV_MAX ? count : 0] = NULL;
    if (r->bad || r->at != r->end || count > ENV_MAX || !*id || timeout_ms > (1ULL << 40) || c->follows)
        send_error(c, STAGE_REQUEST, EINVAL);
    else if (command_find(id))
        send_error(c, STAGE_COMMAND, EEXIST);
    else
        start(c, id, &launch, timeout_ms);
}

void command_attach(struct connection *c, struct reader *r)
{
    struct command *k = command_find(get_str(r, ID_MAX));
    uint64_t from = get_u64(r);
    if (r->bad || c->follows)
        send_error(c, STAGE_REQUEST, EINVAL);
    else if (!k)
        send_error(c, STAGE_COMMAND, ESRCH);
    else if (from < k->acknowledged || from > k->written)
        send_error(c, STAGE_COMMAND, ERANGE);
    else {
        output_acknowledge(k, from);
        k->sent = from;
        follow(k, c);
    }
}

void command_acknowledge(struct connection *c, struct reader *r)
{
    uint64_t offset = get_u64(r);
    struct command *k = c->follows;
    if (r->bad || !k || offset < k->acknowledged || offset > k->sent) {
        c->broken = true;
        return;
    }
    output_acknowledge(k, offset);
    command_settle(k);
    command_pump(k);
}

/* One that still has to be killed for good stays, unseen, until that is done. */
void command_forget(struct connection *c, struct reader *r)
{
    struct command *k = command_find(get_str(r, ID_MAX));
    if (r->bad || !k || !k->ended) {
        send_error(c, STAGE_COMMAND, k ? EBUSY : ESRCH);
        return;
    }
    k->forgotten = true;
    if (!k->kill_ms)
        command_free(k);
    send_ok(c);
}

/* A shell that is at its prompt ignores TERM, and what it runs has a process group of its own. */
static void hang_up(struct command *k)
{
    pid_t foreground = -1;
    if (k->out.source.fd >= 0 && ioctl(k->out.source.fd, TIOCGPGRP, &foreground) == 0 && foreground > 1 &&
        foreground != k->pid)
        kill(-foreground, SIGHUP);
    kill(-k->pid, SIGHUP);
}

static void terminate(struct command *k)
{
    if (k->ended || k->kill_ms)
        return;
    k->hung_up = k->terminal;
    if (k->terminal)
        hang_up(k);
    else
        kill(-k->pid, SIGTERM);
    k->kill_ms = now_ms() + TERM_TO_KILL_MS;
    k->deadline_ms = 0;
}

void command_kill(struct connection *c, struct reader *r)
{
    struct command *k = command_find(get_str(r, ID_MAX));
    if (r->bad || !k) {
        send_error(c, STAGE_COMMAND, ESRCH);
        return;
    }
    terminate(k);
    send_ok(c);
}

void command_list(struct connection *c)
{
    for (struct command *k = commands; k; k = k->next) {
        struct writer w = {.length = 0};
        if (k->forgotten)
            continue;
        put_u8(&w, k->ended);
        put_u32(&w, (uint32_t)k->pid);
        put_u64(&w, k->acknowledged);
        put_u64(&w, k->written);
        put_u64(&w, (uint64_t)((now_us() - k->started_us) / 1000));
        put_str(&w, k->id);
        send_frame(c, ANS_ENTRY, w.bytes, w.length);
    }
    send_frame(c, ANS_END, "", 1);
}

/* Its stdin stays open, so that nobody who reads there is told of an end. */
static void release(struct command *k)
{
    output_release(k);
    source_watch(&k->input, 0);
    k->input.fd = -1;
    k->forgotten = true;
    k->deadline_ms = k->kill_ms = k->grace_ms = 0;
}

static bool is_among(const char *id, char *const spared[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(id, spared[i]))
            return true;
    return false;
}

void commands_release(struct connection *c, struct reader *r)
{
    char *spared[SPARED_MAX];
    uint32_t count = r->at != r->end ? get_u32(r) : 0;
    for (uint32_t i = 0; i < count && i < SPARED_MAX; i++)
        spared[i] = get_str(r, ID_MAX);
    if (r->bad || count > SPARED_MAX || r->at != r->end) {
        send_error(c, STAGE_REQUEST, EINVAL);
        return;
    }
    for (struct command *k = commands; k; k = k->next)
        if (!k->forgotten && !is_among(k->id, spared, count))
            release(k);
    send_ok(c);
}

void command_input(struct connection *c, struct reader *r)
{
    struct command *k = command_find(get_str(r, ID_MAX));
    if (r->bad || !k || k->input.fd < 0 || c->follows) {
        send_error(c, STAGE_COMMAND, k ? EPIPE : ESRCH);
        return;
    }
    input_begin(k, c);
}

void command_resize(struct connection *c, struct reader *r)
{
    struct command *k = command_find(get_str(r, ID_MAX));
    struct winsize size = {.ws_row = get_u16(r), .ws_col = get_u16(r)};
    if (r->bad || !k || k->out.source.fd < 0 || ioctl(k->out.source.fd, TIOCSWINSZ, &size) < 0)
        send_error(c, STAGE_COMMAND, k ? ENOTTY : ESRCH);
    else
        send_ok(c);
}

/* ---- the end ------------------------------------------------------------------------------ */

void command_reaped(int pid, int status, const struct rusage *usage)
{
    for (struct command *k = commands; k; k = k->next) {
        if (k->pid != pid || k->exited)
            continue;
        k->exited = true;
        k->status = status;
        k->usage = *usage;
        k->exited_us = now_us();
        if (k->hung_up && dials())
            session_hang_up(pid);
        k->deadline_ms = 0;
        k->grace_ms = now_ms() + GRACE_MS;
        input_drop(k);
        command_settle(k);
        command_pump(k);
        return;
    }
}

/* Over is a command whose main process has exited and whose pipes are at their end or left. */
void command_settle(struct command *k)
{
    if (k->ended || !k->exited)
        return;
    if (k->out.budget >= 0 || k->err.budget >= 0)
        output_finish(k);
    if (k->out.source.fd >= 0 || k->err.source.fd >= 0)
        return;
    k->ended = true;
    k->grace_ms = 0;
}

static void tick(struct command *k, int64_t now)
{
    if (k->deadline_ms && now >= k->deadline_ms) {
        k->timed_out = true;
        terminate(k);
    }
    if (k->kill_ms && now >= k->kill_ms) {
        k->kill_ms = 0;
        kill(-k->pid, SIGKILL);
    }
    if (k->grace_ms && now >= k->grace_ms && !output_stalled(k)) {
        k->grace_ms = 0;
        output_finish(k);
        command_settle(k);
        command_pump(k);
    }
}

static void sooner(int64_t *next, int64_t due)
{
    if (due && (*next < 0 || due < *next))
        *next = due;
}

int64_t commands_tick(void)
{
    int64_t now = now_ms(), next = -1;
    for (struct command *k = commands, *after; k; k = after) {
        after = k->next;
        tick(k, now);
        sooner(&next, k->deadline_ms);
        sooner(&next, k->kill_ms);
        sooner(&next, output_stalled(k) ? 0 : k->grace_ms);
        if (k->forgotten && !k->kill_ms)
            command_free(k);
    }
    return next < 0 || clock_is_held() ? -1 : next > now ? next - now : 0;
}
