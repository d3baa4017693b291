/* Bytes between the sandbox's loopback and the host, for a network stack that nobody outside can put a
 * socket into: a port that leads to one of the host's sockets, which is the way to the egress proxy,
 * and connections of the host's to ports of the sandbox. */
#include "agent.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 32 * 1024, TUNNELS_MAX = 256, BACKLOG = 128 };

struct half {
    struct source source; /* first: a source is its half */
    struct half *other;
    bool ended, shut; /* nothing comes any more; nothing goes any more */
    int family;       /* of the address that a connection is being made to; 0: it is there */
    uint16_t port;
    size_t size, sent;
    uint8_t bytes[BUFFER]; /* come from here, go to the other */
};

struct tunnel {
    struct half near, far;
};

struct port {
    struct source source; /* first */
    struct port *next;
    uint16_t number;
    char name[ID_MAX + 1];
};

static struct port *ports;
static int tunnel_count;

int forward_count(void) { return tunnel_count; }

static void tunnel_close(struct half *h)
{
    struct half *near = h < h->other ? h : h->other;
    source_close(&near->source);
    source_close(&near->other->source);
    free(near); /* the first member of its tunnel */
    tunnel_count--;
}

/* False when the connection is beyond help. */
static bool take_in(struct half *h)
{
    ssize_t n = recv(h->source.fd, h->bytes, sizeof h->bytes, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    h->ended = n == 0;
    h->size = (size_t)n;
    h->sent = 0;
    return true;
}

static bool pass_on(struct half *h)
{
    while (h->sent < h->size) {
        ssize_t n = send(h->other->source.fd, h->bytes + h->sent, h->size - h->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        h->sent += (size_t)n;
    }
    h->size = h->sent = 0;
    if (h->ended && !h->other->shut) {
        h->other->shut = true;
        shutdown(h->other->source.fd, SHUT_WR);
    }
    return true;
}

/* Servers that listen on "localhost" take one of the two, and nobody chooses which. */
static int reach(int family, uint16_t port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    six.sin6_addr = in6addr_loopback;
    bool is_four = family == AF_INET;
    const struct sockaddr *address = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
    if (fd >= 0 && connect(fd, address, is_four ? sizeof four : sizeof six) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* What waits for the answer has had no other, so a frame as short as these goes at once. */
static bool send_outcome(const struct half *h, int error)
{
    uint8_t frame[16];
    struct writer w = {.length = 0};
    if (error)
        put_u8(&w, STAGE_REQUEST);
    put_u32(&w, error ? (uint32_t)error : PROTOCOL_VERSION);
    size_t head = put_frame_head(frame, error ? ANS_ERROR : ANS_OK, w.length);
    memcpy(frame + head, w.bytes, w.length);
    return send(h->source.fd, frame, head + w.length, MSG_NOSIGNAL) == (ssize_t)(head + w.length);
}

/* The far half's connection is made, or not. False when there will be none. */
static bool reached(struct half *far)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(far->source.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error && far->family == AF_INET) {
        source_close(&far->source);
        far->family = AF_INET6;
        far->source.fd = reach(AF_INET6, far->port);
        if (far->source.fd >= 0)
            return true;
    }
    if (!error)
        far->family = 0;
    return send_outcome(far->other, error) && !error;
}

static bool half_watch(struct half *h)
{
    if (h->family) /* nothing passes before it is there, but its other end may leave */
        return source_watch(&h->source, EPOLLOUT);
    if (h->other->family)
        return source_watch(&h->source, EPOLLRDHUP);
    uint32_t wanted = (!h->ended && !h->size ? EPOLLIN : 0) | (h->other->size ? EPOLLOUT : 0);
    return source_watch(&h->source, wanted);
}

static void half_ready(struct source *source, uint32_t events)
{
    struct half *h = (struct half *)source;
    bool connects = h->family, fine = connects || (!(events & EPOLLERR) && !h->other->family);
    if (connects)
        fine = reached(h);
    else if (fine && !h->ended && !h->size && events & (EPOLLIN | EPOLLHUP))
        fine = take_in(h);
    fine = fine && pass_on(h) && pass_on(h->other);
    if (!fine || (h->shut && h->other->shut) || !half_watch(h) || !half_watch(h->other))
        tunnel_close(h);
}

static void port_ready(struct source *source, uint32_t events)
{
    struct port *port = (struct port *)source;
    struct tunnel *t = tunnel_count < TUNNELS_MAX ? calloc(1, sizeof *t) : NULL;
    int near = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int far = near < 0 || !t ? -1 : dial(port->name);
    (void)events;
    if (far < 0) {
        if (near >= 0)
            close(near);
        free(t);
        return;
    }
    t->near.source = (struct source){.fd = near, .ready = half_ready};
    t->far.source = (struct source){.fd = far, .ready = half_ready};
    t->near.other = &t->far;
    t->far.other = &t->near;
    tunnel_count++;
    if (!half_watch(&t->near) || !half_watch(&t->far))
        tunnel_close(&t->near);
}

/* The connection becomes the near half of a tunnel. */
void forward_connect(struct connection *c, struct reader *r)
{
    uint16_t port = get_u16(r);
    if (r->bad || r->at != r->end || !port || c->follows || c->feeds || has_unsent(c)) {
        send_error(c, STAGE_REQUEST, EINVAL);
        return;
    }
    struct tunnel *t = tunnel_count < TUNNELS_MAX ? calloc(1, sizeof *t) : NULL;
    int family = AF_INET, fd = t ? reach(family, port) : -1;
    if (t && fd < 0)
        fd = reach(family = AF_INET6, port);
    if (fd < 0) {
        send_error(c, STAGE_REQUEST, t ? errno : EAGAIN);
        free(t);
        return;
    }
    source_watch(&c->source, 0);
    t->near.source = (struct source){.fd = c->source.fd, .ready = half_ready};
    t->far = (struct half){.source = {.fd = fd, .ready = half_ready}, .other = &t->near, .family = family, .port = port};
    t->near.other = &t->far;
    c->source.fd = -1;
    c->broken = true;
    tunnel_count++;
    if (!half_watch(&t->near) || !half_watch(&t->far))
        tunnel_close(&t->near);
}

static int listen_on(uint16_t number)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(number)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool port_open(uint16_t number, const char *name)
{
    struct port *port = calloc(1, sizeof *port);
    int fd = port ? listen_on(number) : -1;
    if (fd < 0) {
        free(port);
        return false;
    }
    port->source = (struct source){.fd = fd, .ready = port_ready};
    port->number = number;
    strcpy(port->name, name);
    port->next = ports;
    ports = port;
    return source_watch(&port->source, EPOLLIN);
}

void forward_open(struct connection *c, struct reader *r)
{
    uint16_t number = get_u16(r);
    const char *name = get_str(r, ID_MAX);
    if (r->bad || r->at != r->end || !number || !*name || strchr(name, '/')) {
        send_error(c, STAGE_REQUEST, EINVAL);
        return;
    }
    for (struct port *port = ports; port; port = port->next)
        if (port->number == number && !strcmp(port->name, name)) {
            send_ok(c);
            return;
        }
    if (port_open(number, name))
        send_ok(c);
    else
        send_error(c, STAGE_REQUEST, errno);
}
