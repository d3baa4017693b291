/* What Linux does by itself when the shell of a terminal has gone, and gVisor does not: a hang-up for
 * what the terminal had in its session. */
#include "agent.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a process, by the kernel's table; -1 when it has gone. A name may hold anything, brackets too. */
static int session_of(int pid)
{
    char path[32], line[512];
    int session = -1;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return -1;
    line[size] = 0;
    const char *behind = strrchr(line, ')');
    if (!behind || sscanf(behind, ") %*c %*d %*d %d", &session) != 1)
        return -1;
    return session;
}

void session_hang_up(int leader)
{
    DIR *all = opendir("/proc");
    for (struct dirent *one; all && (one = readdir(all));) {
        int pid = isdigit((unsigned char)one->d_name[0]) ? atoi(one->d_name) : 0;
        if (pid > 1 && session_of(pid) == leader) {
            kill(pid, SIGHUP);
            kill(pid, SIGCONT);
        }
    }
    if (all)
        closedir(all);
}
