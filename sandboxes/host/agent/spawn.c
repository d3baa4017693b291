/* Starting a shell in a session of its own. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ends { /* of what joins the agent and the command; -1 where there is none */
    int input[2], out[2], err[2], failure[2];
    int terminal;
    char terminal_name[64];
};

struct failure {
    int stage, error;
};

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

static void close_ends(struct ends *e)
{
    close_pair(e->input);
    close_pair(e->out);
    close_pair(e->err);
    close_pair(e->failure);
    if (e->terminal >= 0)
        close(e->terminal);
}

static bool open_terminal(struct ends *e, const struct launch *launch)
{
    struct winsize size = {.ws_row = launch->rows, .ws_col = launch->columns};
    e->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    return e->terminal >= 0 && grantpt(e->terminal) == 0 && unlockpt(e->terminal) == 0 &&
           ptsname_r(e->terminal, e->terminal_name, sizeof e->terminal_name) == 0 &&
           ioctl(e->terminal, TIOCSWINSZ, &size) == 0;
}

static bool open_ends(struct ends *e, const struct launch *launch)
{
    if (pipe2(e->failure, O_CLOEXEC) < 0)
        return false;
    if (launch->flags & SPAWN_PTY)
        return open_terminal(e, launch);
    if (launch->flags & SPAWN_STDIN && pipe2(e->input, O_CLOEXEC) < 0)
        return false;
    return pipe2(e->out, O_CLOEXEC) == 0 && pipe2(e->err, O_CLOEXEC) == 0;
}

/* ---- in the child ------------------------------------------------------------------------- */

_Noreturn static void give_up(const struct ends *e, enum stage stage)
{
    struct failure failure = {(int)stage, errno};
    if (write(e->failure[1], &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

/* By the call itself: a C library keeps 32 to 34 for its own use and refuses to touch them. */
void signals_answer(void (*handler)(int))
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } plain = {handler, 0, NULL, 0};
    for (int number = 1; number < 65; number++)
        if (number != SIGKILL && number != SIGSTOP)
            syscall(SYS_rt_sigaction, number, &plain, NULL, sizeof plain.mask);
}

static void reset_signals(void)
{
    sigset_t none;
    signals_answer(SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* When memory runs out the kernel takes a command, never the agent. */
static void offer_to_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "500", 3) < 0)
        errno = 0;
    close(fd);
}

static void connect_streams(const struct ends *e)
{
    int fd;
    if (e->terminal >= 0) {
        if ((fd = open(e->terminal_name, O_RDWR)) < 0 || ioctl(fd, TIOCSCTTY, 0) < 0)
            give_up(e, STAGE_FORK);
        dup2(fd, 0), dup2(fd, 1), dup2(fd, 2);
        if (fd > 2)
            close(fd);
        return;
    }
    fd = e->input[0] >= 0 ? e->input[0] : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || dup2(fd, 0) < 0 || dup2(e->out[1], 1) < 0 || dup2(e->err[1], 2) < 0)
        give_up(e, STAGE_FORK);
}

_Noreturn static void become_shell(const struct ends *e, const struct launch *launch)
{
    static const char *shells[] = {"/bin/bash", "/usr/bin/bash", "/bin/sh"};
    struct rlimit no_core = {0, 0};
    reset_signals();
    setsid();
    umask(022);
    setrlimit(RLIMIT_CORE, &no_core);
    offer_to_oom();
    connect_streams(e);
    if (chdir(launch->cwd) < 0)
        give_up(e, STAGE_DIRECTORY);
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        const char *name = strrchr(shells[i], '/') + 1;
        char *const arguments[] = {(char *)name, *launch->text ? "-c" : NULL, launch->text, NULL};
        execve(shells[i], arguments, launch->env);
        if (errno != ENOENT)
            break;
    }
    give_up(e, STAGE_EXEC);
}

/* ---- in the agent ------------------------------------------------------------------------- */

static int take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    if (taken >= 0)
        fcntl(taken, F_SETFL, O_NONBLOCK);
    return taken;
}

static void keep_ends(struct command *k, struct ends *e)
{
    if (e->terminal >= 0) {
        k->terminal = true;
        k->input.fd = fcntl(e->terminal, F_DUPFD_CLOEXEC, 3);
        k->out.source.fd = take(&e->terminal);
        return;
    }
    k->input.fd = take(&e->input[1]);
    k->out.source.fd = take(&e->out[0]);
    k->err.source.fd = take(&e->err[0]);
}

enum stage spawn_shell(struct command *k, const struct launch *launch)
{
    struct ends e = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, -1, ""};
    struct failure failure = {0, 0};
    int error;
    k->pid = open_ends(&e, launch) ? fork() : -1;
    if (k->pid == 0)
        become_shell(&e, launch);
    error = errno;
    if (k->pid > 0) {
        close(e.failure[1]);
        e.failure[1] = -1;
        /* Nothing arrives when the shell took over: the pipe closes on exec. */
        if (read(e.failure[0], &failure, sizeof failure) != sizeof failure)
            failure.stage = 0;
        error = failure.error;
        if (!failure.stage)
            keep_ends(k, &e);
    }
    close_ends(&e);
    errno = error;
    return k->pid < 0 ? STAGE_FORK : (enum stage)failure.stage;
}
