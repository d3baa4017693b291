/* The other way round. The kernel of a gVisor sandbox takes no listening socket from outside, so the
 * agent calls the host: a few connections always wait in the host's backlog, and one on which the
 * host begins to speak is replaced.
 *
 * The folder with the host's sockets is mounted for the agent alone. It keeps a descriptor of it and
 * takes the mount, and its own right to mount, away before anything else runs. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* In an empty /tmp gVisor would mount one of its own, in memory and left out of snapshots. */
#define KEEPS_TMP ".agent"

enum { SPARES = 8, AGAIN_MS = 50, NAME_MAX_BYTES = 64 };

static int folder = -1;
static int spares;
static int64_t again_ms; /* not before then, by the clock that never stands still */

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* By the calls themselves: the kernel's headers are not everywhere where a C library is. */
static bool drop_mounting(void)
{
    enum { SYS_ADMIN = 21, VERSION = 0x20080522 };
    struct {
        uint32_t version;
        int pid;
    } head = {VERSION, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2];
    if (syscall(SYS_capget, &head, sets) < 0)
        return false;
    sets[0].effective &= ~(1U << SYS_ADMIN);
    sets[0].permitted &= ~(1U << SYS_ADMIN);
    sets[0].inheritable &= ~(1U << SYS_ADMIN);
    return syscall(SYS_capset, &head, sets) == 0;
}

static bool write_to(const char *folder_path, const char *name, const char *text)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder_path, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* In this kernel's own cgroup: the one on the machine counts threads of the kernel, not ours. */
static bool limit_processes(const char *path, const char *most)
{
    char group[PATH_BYTES];
    snprintf(group, sizeof group, "%s/sandbox", path);
    return mount("none", path, "cgroup", 0, "pids") == 0 && mkdir(group, 0700) == 0 &&
           write_to(group, "pids.max", most) && write_to(group, "cgroup.procs", "1");
}

/* Taking the mount away would not do: the files' server shows what is below it. */
static bool cover(const char *path)
{
    return mount("none", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=500") == 0;
}

bool dial_open(const char *path, const char *most_processes)
{
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unlink("/tmp/" KEEPS_TMP);
    return folder >= 0 && limit_processes(path, most_processes) && cover(path) && drop_mounting();
}

bool dials(void) { return folder >= 0; }

int dial(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(name) > NAME_MAX_BYTES || fchdir(folder) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    memcpy(address.sun_path, name, strlen(name));
    error = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
    if (chdir("/") < 0 || error || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

void dial_spent(struct connection *c)
{
    if (!c->spare)
        return;
    c->spare = false;
    spares--;
}

int64_t dial_tick(void)
{
    while (folder >= 0 && spares < SPARES) {
        int64_t wait = again_ms - clock_ms();
        if (wait > 0)
            return wait;
        int fd = dial("agent");
        struct connection *c = fd < 0 ? NULL : connection_new(fd);
        if (!c) {
            again_ms = clock_ms() + AGAIN_MS;
            return AGAIN_MS;
        }
        c->spare = true;
        spares++;
    }
    return -1;
}
