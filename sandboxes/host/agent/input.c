/* Stdin: a connection turned over to a command. While the command does not read, neither do we. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

void input_drop(struct command *k)
{
    source_close(&k->input);
    free(k->input_bytes);
    k->input_bytes = NULL;
    k->input_size = k->input_sent = 0;
    if (k->feeder) {
        k->feeder->feeds = NULL;
        k->feeder->broken = true;
        k->feeder = NULL;
    }
}

static void write_on(struct command *k)
{
    while (k->input_sent < k->input_size) {
        ssize_t n = write(k->input.fd, k->input_bytes + k->input_sent, k->input_size - k->input_sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            input_drop(k);
            return;
        }
        k->input_sent += (size_t)n;
    }
    if (k->input_sent < k->input_size) {
        source_watch(&k->input, EPOLLOUT);
        return;
    }
    source_watch(&k->input, 0);
    free(k->input_bytes);
    k->input_bytes = NULL;
    k->input_size = k->input_sent = 0;
    if (k->input_end)
        input_drop(k);
    else if (k->feeder)
        input_resume(k->feeder);
}

void input_ready(struct source *source, uint32_t events)
{
    (void)events;
    write_on((struct command *)((char *)source - offsetof(struct command, input)));
}

/* Line by line and without an echo is how programs ask for passwords. An editor's raw mode has no
 * echo either, but takes no lines. */
static bool is_hidden(const struct command *k)
{
    struct termios mode;
    return k->terminal && tcgetattr(k->input.fd, &mode) == 0 && mode.c_lflag & ICANON &&
           !(mode.c_lflag & ECHO);
}

void input_begin(struct command *k, struct connection *c)
{
    if (k->feeder) {
        k->feeder->feeds = NULL;
        k->feeder->broken = true;
    }
    k->feeder = c;
    c->feeds = k;
    send_taken_of(c, is_hidden(k), k->input_taken);
}

/* Answers OK for what is taken, so the host always knows how far the command has read. */
void input_frame(struct connection *c, uint8_t type, const uint8_t *bytes, size_t length)
{
    struct command *k = c->feeds;
    if ((type != REQ_DATA && type != REQ_END) || length > CHUNK_MAX || k->input_size) {
        c->broken = true;
        return;
    }
    k->input_end = type == REQ_END;
    if (length && !(k->input_bytes = malloc(length))) {
        c->broken = true;
        return;
    }
    if (length)
        memcpy(k->input_bytes, bytes, length);
    k->input_size = length;
    k->input_taken += length;
    send_taken(c, is_hidden(k));
    write_on(k);
}
