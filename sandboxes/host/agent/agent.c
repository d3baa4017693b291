/* The loop: connections, their frames, and what is due. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int epoll_fd;
static struct connection *connections;
static int connection_count;
static int file_children[CONNECTIONS_MAX], file_child_count;

/* Sets what is waited for. 0 takes the descriptor out: a closed pipe would report for ever. */
bool source_watch(struct source *source, uint32_t events)
{
    struct epoll_event wanted = {.events = events, .data.ptr = source};
    int how = source->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (source->fd < 0 || source->events == events)
        return true;
    if (epoll_ctl(epoll_fd, how, source->fd, &wanted) < 0)
        return false;
    source->events = events;
    return true;
}

void source_close(struct source *source)
{
    if (source->fd < 0)
        return;
    source_watch(source, 0);
    close(source->fd);
    source->fd = -1;
}

/* ---- sending ------------------------------------------------------------------------------ */

bool has_unsent(const struct connection *c) { return c->out_sent < c->out_size; }

static void watch_connection(struct connection *c)
{
    bool held = c->feeds && c->feeds->input_size > 0;
    uint32_t wanted = (held ? EPOLLRDHUP : EPOLLIN) | (has_unsent(c) ? EPOLLOUT : 0);
    if (!source_watch(&c->source, wanted))
        c->broken = true;
}

static void flush(struct connection *c)
{
    while (!c->broken && has_unsent(c)) {
        ssize_t n = send(c->source.fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (n > 0)
            c->out_sent += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno == EAGAIN)
            break;
        else
            c->broken = true;
    }
    if (!has_unsent(c))
        c->out_size = c->out_sent = 0;
}

static bool make_room(struct connection *c, size_t more)
{
    size_t room = c->out_size + more;
    if (room > PENDING_MAX)
        return false;
    if (room <= c->out_room)
        return true;
    uint8_t *grown = realloc(c->out, room);
    if (!grown)
        return false;
    c->out = grown;
    c->out_room = room;
    return true;
}

void send_frame(struct connection *c, uint8_t type, const void *payload, size_t length)
{
    if (c->broken)
        return;
    if (!make_room(c, 5 + length)) {
        c->broken = true;
        return;
    }
    c->out_size += put_frame_head(c->out + c->out_size, type, length);
    if (length)
        memcpy(c->out + c->out_size, payload, length);
    c->out_size += length;
    flush(c);
    watch_connection(c);
}

void send_error(struct connection *c, enum stage stage, int error)
{
    struct writer w = {.length = 0};
    put_u8(&w, (uint8_t)stage);
    put_u32(&w, (uint32_t)error);
    send_frame(c, ANS_ERROR, w.bytes, w.length);
}

void send_ok(struct connection *c)
{
    struct writer w = {.length = 0};
    put_u32(&w, PROTOCOL_VERSION);
    send_frame(c, ANS_OK, w.bytes, w.length);
}

void send_taken(struct connection *c, bool hidden)
{
    struct writer w = {.length = 0};
    put_u32(&w, PROTOCOL_VERSION);
    put_u8(&w, hidden);
    send_frame(c, ANS_OK, w.bytes, w.length);
}

void send_taken_of(struct connection *c, bool hidden, uint64_t taken)
{
    struct writer w = {.length = 0};
    put_u32(&w, PROTOCOL_VERSION);
    put_u8(&w, hidden);
    put_u64(&w, taken);
    send_frame(c, ANS_OK, w.bytes, w.length);
}

void input_resume(struct connection *c) { watch_connection(c); }

/* ---- receiving ---------------------------------------------------------------------------- */

int file_operations(void) { return file_child_count; }

/* The child takes the socket; only what belongs to this one frame has been read from it. */
static void hand_to_child(struct connection *c, uint8_t type, struct reader *r)
{
    int pid = -1;
    errno = EAGAIN;
    if (file_child_count < CONNECTIONS_MAX)
        pid = fork();
    if (pid == 0)
        file_operation(c->source.fd, type, r);
    if (pid < 0)
        send_error(c, STAGE_FORK, errno);
    else
        file_children[file_child_count++] = pid;
    c->broken = true;
}

static bool file_child_reaped(int pid)
{
    for (int i = 0; i < file_child_count; i++)
        if (file_children[i] == pid) {
            file_children[i] = file_children[--file_child_count];
            return true;
        }
    return false;
}

static void dispatch(struct connection *c, uint8_t type, struct reader *r)
{
    switch (type) {
    case REQ_SPAWN: command_spawn(c, r); break;
    case REQ_ATTACH: command_attach(c, r); break;
    case REQ_ACK: command_acknowledge(c, r); break;
    case REQ_FORGET: command_forget(c, r); break;
    case REQ_KILL: command_kill(c, r); break;
    case REQ_LIST: command_list(c); break;
    case REQ_INPUT: command_input(c, r); break;
    case REQ_RESIZE: command_resize(c, r); break;
    case REQ_PING: send_ok(c); break;
    case REQ_CLOCK: clock_set(c, r); break;
    case REQ_QUIESCE: quiesce(c, r); break;
    case REQ_RELEASE: commands_release(c, r); break;
    case REQ_FORWARD: forward_open(c, r); break;
    case REQ_CONNECT: forward_connect(c, r); break;
    case REQ_READ: case REQ_WRITE: case REQ_DELETE:
    case REQ_MKDIR: case REQ_MOVE: case REQ_STAT:
        if (c->follows || c->feeds || has_unsent(c))
            c->broken = true;
        else
            hand_to_child(c, type, r);
        break;
    default: c->broken = true;
    }
}

static void frame_complete(struct connection *c)
{
    struct reader r = {c->body, c->body + c->body_size, false};
    uint8_t type = c->head[4], *body = c->body;
    size_t size = c->body_size;
    c->body = NULL;
    c->head_got = c->body_got = c->body_size = 0;
    if (c->feeds)
        input_frame(c, type, body, size);
    else
        dispatch(c, type, &r);
    free(body);
}

static bool head_complete(struct connection *c)
{
    struct reader r = {c->head, c->head + 4, false};
    c->body_size = get_u32(&r);
    if (c->body_size > FRAME_MAX)
        return false;
    c->body = malloc(c->body_size + 1);
    return c->body != NULL;
}

/* Reads no further than the frame at hand. True while there may be more. */
static bool receive(struct connection *c)
{
    bool in_head = c->head_got < sizeof c->head;
    uint8_t *to = in_head ? c->head + c->head_got : c->body + c->body_got;
    size_t wanted = in_head ? sizeof c->head - c->head_got : c->body_size - c->body_got;
    ssize_t n = wanted ? recv(c->source.fd, to, wanted, 0) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (n < 0 || (n == 0 && wanted))
        return !(c->broken = true);
    dial_spent(c);
    *(in_head ? &c->head_got : &c->body_got) += (size_t)n;
    if (in_head && c->head_got == sizeof c->head && !head_complete(c))
        return !(c->broken = true);
    if (c->head_got == sizeof c->head && c->body_got == c->body_size)
        frame_complete(c);
    return true;
}

static void connection_free(struct connection *c)
{
    for (struct connection **at = &connections; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    dial_spent(c);
    if (c->follows)
        c->follows->follower = NULL;
    if (c->feeds)
        c->feeds->feeder = NULL;
    source_close(&c->source);
    free(c->body);
    free(c->out);
    free(c);
    connection_count--;
}

static void connection_ready(struct source *source, uint32_t events)
{
    struct connection *c = (struct connection *)source;
    if (events & EPOLLOUT)
        flush(c);
    for (int frames = 0; (events & EPOLLIN) && frames < 32 && !c->broken; frames++)
        if (!receive(c) || (c->feeds && c->feeds->input_size))
            break;
    if (events & EPOLLERR || (!(events & EPOLLIN) && events & (EPOLLHUP | EPOLLRDHUP)))
        c->broken = true;
    if (!c->broken && c->follows && !has_unsent(c))
        command_pump(c->follows);
    if (!c->broken)
        watch_connection(c);
}

static void sweep(void)
{
    for (struct connection *c = connections, *next; c; c = next) {
        next = c->next;
        if (c->broken)
            connection_free(c);
    }
}

/* ---- the listener and the children -------------------------------------------------------- */

static void listener_ready(struct source *source, uint32_t events);

static struct source listener = {.fd = -1, .ready = listener_ready};

static void move_to_end(struct connection *moved)
{
    struct connection **at = &connections;
    while (*at)
        if (*at == moved)
            *at = moved->next;
        else
            at = &(*at)->next;
    moved->next = NULL;
    *at = moved;
}

/* Whoever sees `last` closed knows that no other is left: it is swept in the list's order. */
void stop_listening(struct connection *last)
{
    source_close(&listener);
    move_to_end(last);
    for (struct connection *c = connections; c; c = c->next)
        c->broken = true;
}

void stay_private(bool wanted) { prctl(PR_SET_DUMPABLE, !wanted); }

bool take_listener(int fd)
{
    int listening = 0;
    socklen_t size = sizeof listening;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) || !listening)
        return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    listener.fd = fd;
    return source_watch(&listener, EPOLLIN);
}

struct connection *connection_new(int fd)
{
    struct connection *c = connection_count < CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return NULL;
    }
    c->source.fd = fd;
    c->source.ready = connection_ready;
    c->next = connections;
    connections = c;
    connection_count++;
    watch_connection(c);
    return c;
}

static void listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        connection_new(fd);
}

static void child_ready(struct source *source, uint32_t events)
{
    struct signalfd_siginfo info;
    struct rusage usage;
    int status, pid;
    (void)events;
    while (read(source->fd, &info, sizeof info) > 0)
        ;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        if (!file_child_reaped(pid))
            command_reaped(pid, status, &usage);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || strlen(path) >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    mode_t old = umask(077);
    int failed = bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 64);
    umask(old);
    return failed ? -1 : fd;
}

static int open_listener(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--fd"))
        return atoi(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "--path"))
        return listen_at(argv[2]);
    return -1;
}

/* From inside, Linux spares PID 1 every signal it does not wait for. gVisor spares it none. */
static int child_signals(void)
{
    sigset_t mask;
    signals_answer(SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
    static struct source children = {.ready = child_ready};
    struct epoll_event event;
    stay_private(true);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool dials = argc == 4 && !strcmp(argv[1], "--dial") && dial_open(argv[2], argv[3]);
    children.fd = child_signals();
    if ((!dials && !take_listener(open_listener(argc, argv))) || !source_watch(&children, EPOLLIN)) {
        fprintf(stderr, "usage: agent --fd LISTENING_SOCKET | --path SOCKET | --dial FOLDER PROCESSES\n");
        return 2;
    }
    for (;;) {
        /* One event at a time: handling it may free what a second one would point at. */
        int64_t wait = commands_tick(), until_dial;
        sweep();
        until_dial = dial_tick();
        if (wait < 0 || (until_dial >= 0 && until_dial < wait))
            wait = until_dial;
        if (epoll_wait(epoll_fd, &event, 1, wait > 60000 ? 60000 : (int)wait) == 1) {
            struct source *source = event.data.ptr;
            source->ready(source, event.events);
        }
    }
}
