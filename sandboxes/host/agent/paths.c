/* Where a path leads. A rule for callers, not a wall: all of this happens inside the sandbox, which
 * is confined whether or not its processes play with links meanwhile. */
#include "agent.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

static bool join(char to[PATH_BYTES], const char *directory, const char *name)
{
    const char *slash = strcmp(directory, "/") ? "/" : "";
    return snprintf(to, PATH_BYTES, "%s%s%s", directory, slash, name) < PATH_BYTES;
}

/* Appends what is not there yet. A `..` in it leads nowhere, and so does a dangling link. */
static int append_missing(char resolved[PATH_BYTES], char *rest)
{
    char joined[PATH_BYTES], *save = NULL;
    struct stat st;
    for (char *part = strtok_r(rest, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (!strcmp(part, "."))
            continue;
        if (!strcmp(part, ".."))
            return ENOENT;
        if (strlen(part) > NAME_MAX || !join(joined, resolved, part))
            return ENAMETOOLONG;
        if (lstat(joined, &st) == 0)
            return ENOENT;
        memcpy(resolved, joined, PATH_BYTES);
    }
    return 0;
}

/* The deepest directory that exists, with its links followed, and then the rest as it is. */
static int resolve_directory(const char *path, char resolved[PATH_BYTES])
{
    char cut[PATH_BYTES], rest[PATH_BYTES];
    size_t end = strlen(path);
    for (;;) {
        memcpy(cut, path, end);
        cut[end] = 0;
        if (realpath(end ? cut : "/", resolved))
            break;
        if (errno != ENOENT || end == 0)
            return errno;
        while (end > 0 && path[end - 1] == '/')
            end--;
        while (end > 0 && path[end - 1] != '/')
            end--;
    }
    memcpy(rest, path + end, strlen(path + end) + 1);
    return append_missing(resolved, rest);
}

static int split(const char *path, char directory[PATH_BYTES], char name[PATH_BYTES])
{
    size_t length = strlen(path), start;
    while (length > 1 && path[length - 1] == '/')
        length--;
    for (start = length; start > 0 && path[start - 1] != '/'; start--)
        ;
    memcpy(name, path + start, length - start);
    name[length - start] = 0;
    memcpy(directory, path, start);
    directory[start] = 0;
    return strlen(name) > NAME_MAX ? ENAMETOOLONG : 0;
}

/* The next path to look at, when the last part is a link; else 0 bytes. */
static ssize_t link_target(const char *at, const char *directory, char next[PATH_BYTES])
{
    char target[PATH_BYTES];
    ssize_t length = readlink(at, target, sizeof target - 1);
    if (length <= 0)
        return 0;
    target[length] = 0;
    if (target[0] == '/')
        memcpy(next, target, (size_t)length + 1);
    else if (!join(next, directory, target))
        return -1;
    return length;
}

int path_resolve(const char *path, bool follow_last, char resolved[PATH_BYTES])
{
    char now[PATH_BYTES], directory[PATH_BYTES], name[PATH_BYTES], parent[PATH_BYTES];
    snprintf(now, sizeof now, "%s", path);
    for (int links = 0; links < LINKS_MAX; links++) {
        int error = split(now, directory, name);
        if (error)
            return error;
        if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
            return resolve_directory(now, resolved);
        if ((error = resolve_directory(directory, parent)))
            return error;
        if (!join(resolved, parent, name))
            return ENAMETOOLONG;
        ssize_t length = follow_last ? link_target(resolved, parent, now) : 0;
        if (length == 0)
            return 0;
        if (length < 0)
            return ENAMETOOLONG;
    }
    return ELOOP;
}

bool path_within(const char *resolved, const struct roots *roots, bool itself)
{
    for (uint32_t i = 0; i < roots->count; i++) {
        size_t length = strlen(roots->at[i]);
        if (strncmp(resolved, roots->at[i], length))
            continue;
        if (resolved[length] == '/' || (itself && !resolved[length]))
            return true;
    }
    return false;
}

int path_make_parents(const char *resolved)
{
    char part[PATH_BYTES];
    for (size_t i = 1; resolved[i]; i++) {
        if (resolved[i] != '/')
            continue;
        memcpy(part, resolved, i);
        part[i] = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return errno;
    }
    return 0;
}
