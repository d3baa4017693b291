/* Shared by the file operations of the agent's child. */
#ifndef FILES_H
#define FILES_H

#include "agent.h"

#include <sys/stat.h>
#include <sys/types.h>

extern char temporary[PATH_BYTES]; /* removed however the child ends, unless empty */

_Noreturn void leave(void);
_Noreturn void fail(enum stage stage, int error);
void still_moving(void); /* re-arms the alarm */
void answer(uint8_t type, const uint8_t *payload, size_t length);
void answer_meta(const struct stat *st); /* NULL: there is nothing */
void answer_ready(const struct stat *st, const uint8_t *content, ssize_t length); /* < 0: no content */
size_t receive_frame(uint8_t *type, uint8_t bytes[FILE_CHUNK_MAX]);

void write_file(struct reader *r);
void delete_file(struct reader *r);
void make_directory(struct reader *r);
void move_path(struct reader *r);

#endif
