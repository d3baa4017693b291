/* Standing apart from the host: while a sandbox's memory is written to disk, and until the host
 * comes back to it or to its copy, no socket leads out. The agent then waits at a name of its own
 * network namespace for a new listener. Whoever is in the sandbox can knock there too, and is known
 * by its pid: only a peer from outside has none here. */
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static void knocked(struct source *source, uint32_t events);

static struct source door = {.fd = -1, .ready = knocked};

static bool door_open(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + sizeof DOOR_NAME;
    memcpy(name.sun_path + 1, DOOR_NAME, sizeof DOOR_NAME - 1);
    door.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (door.fd >= 0 && bind(door.fd, (struct sockaddr *)&name, size) == 0 &&
        listen(door.fd, 4) == 0 && source_watch(&door, EPOLLIN))
        return true;
    int error = errno;
    source_close(&door);
    errno = error;
    return false;
}

/* An agent that calls the host goes on calling, in vain until the host listens again.
 *
 * The answer is sent before the connection it goes to is closed with all others.
 *
 * Memory that was restored belongs to the machine as the kernel sees it, so whoever writes it to disk
 * once more and is in the sandbox's user namespace can look at it only if everybody with our ids can.
 * The host asks for that while it holds everything else in here still. */
void quiesce(struct connection *c, struct reader *r)
{
    bool bare = r->at != r->end && get_u8(r);
    if (r->bad || r->at != r->end)
        send_error(c, STAGE_REQUEST, EINVAL);
    else if (file_operations() || forward_count())
        send_error(c, STAGE_FILE, EBUSY);
    else if (!dials() && !door_open())
        send_error(c, STAGE_REQUEST, errno);
    else {
        send_ok(c);
        stop_listening(c);
        stay_private(!bare);
    }
}

static bool from_outside(int fd)
{
    struct ucred peer = {.pid = -1};
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == 0;
}

/* The descriptor that comes with one byte; -1 when there is none. */
static int receive_descriptor(int fd)
{
    char byte;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    int received = -1;
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof received))
        memcpy(&received, CMSG_DATA(head), sizeof received);
    return received;
}

static void knocked(struct source *source, uint32_t events)
{
    struct timeval patience = {.tv_sec = 2};
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
    (void)events;
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (from_outside(fd)) {
        int listener = receive_descriptor(fd);
        if (listener >= 0 && take_listener(listener)) {
            stay_private(true);
            source_close(&door);
            send(fd, ".", 1, MSG_NOSIGNAL);
        } else if (listener >= 0)
            close(listener);
    }
    close(fd);
}
