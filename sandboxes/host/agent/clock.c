/* The clock that every timeout goes by. */
#include "agent.h"

#include <errno.h>
#include <time.h>

static int64_t skipped_us; /* how long the clock has stood still in all */
static int64_t held_us;    /* since when it stands; 0: it runs */

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* It stands still while the host says so: a pause is no time. */
int64_t now_us(void) { return (held_us ? held_us : monotonic_us()) - skipped_us; }

bool clock_is_held(void) { return held_us != 0; }

void clock_set(struct connection *c, struct reader *r)
{
    bool hold = get_u8(r);
    if (r->bad || r->at != r->end) {
        send_error(c, STAGE_REQUEST, EINVAL);
        return;
    }
    if (hold && !held_us)
        held_us = monotonic_us();
    if (!hold && held_us) {
        skipped_us += monotonic_us() - held_us;
        held_us = 0;
    }
    send_ok(c);
}

int64_t now_ms(void) { return now_us() / 1000; }
