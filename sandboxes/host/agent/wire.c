/* Reading and writing the fields of a frame. */
#include "agent.h"

#include <string.h>

static uint64_t get(struct reader *r, size_t size)
{
    uint64_t value = 0;
    if (r->bad || (size_t)(r->end - r->at) < size) {
        r->bad = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)r->at[i] << (8 * i);
    r->at += size;
    return value;
}

uint8_t get_u8(struct reader *r) { return (uint8_t)get(r, 1); }
uint16_t get_u16(struct reader *r) { return (uint16_t)get(r, 2); }
uint32_t get_u32(struct reader *r) { return (uint32_t)get(r, 4); }
uint64_t get_u64(struct reader *r) { return get(r, 8); }

char *get_str(struct reader *r, size_t longest)
{
    static char empty[1];
    size_t length = get_u32(r);
    if (r->bad || length > longest || (size_t)(r->end - r->at) < length + 1 ||
        memchr(r->at, 0, length + 1) != r->at + length) {
        r->bad = true;
        empty[0] = 0;
        return empty;
    }
    char *text = (char *)r->at;
    r->at += length + 1;
    return text;
}

static void put(struct writer *w, uint64_t value, size_t size)
{
    if (w->length + size > sizeof w->bytes)
        __builtin_trap();
    for (size_t i = 0; i < size; i++)
        w->bytes[w->length++] = (uint8_t)(value >> (8 * i));
}

void put_u8(struct writer *w, uint8_t value) { put(w, value, 1); }
void put_u32(struct writer *w, uint32_t value) { put(w, value, 4); }
void put_u64(struct writer *w, uint64_t value) { put(w, value, 8); }

void put_str(struct writer *w, const char *text)
{
    size_t length = strlen(text);
    put_u32(w, (uint32_t)length);
    for (size_t i = 0; i <= length; i++)
        put_u8(w, (uint8_t)text[i]);
}

size_t put_frame_head(uint8_t head[5], uint8_t type, size_t length)
{
    for (size_t i = 0; i < 4; i++)
        head[i] = (uint8_t)(length >> (8 * i));
    head[4] = type;
    return 5;
}
