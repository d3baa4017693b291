/* The agent: PID 1 of every sandbox. It runs commands and file operations for the host and nothing
 * else. One thread, one epoll set; what could block (files) happens in a forked child.
 *
 * The protocol, over a unix stream socket, is frames in both directions:
 *     u32 length | u8 type | length bytes          (little endian; length <= FRAME_MAX)
 * A string inside a frame is u32 length | bytes | NUL and holds no NUL itself.
 * Whatever breaks these rules loses its connection and nothing more.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

enum {
    PROTOCOL_VERSION = 1,
    FRAME_MAX = 512 * 1024,
    CHUNK_MAX = 32 * 1024,      /* payload of one OUTPUT frame, and of one DATA frame to a command */
    FILE_CHUNK_MAX = 256 * 1024, /* payload of one DATA frame of a file */
    TELL_MAX = 64 * 1024,        /* of a file that a write replaces, content that is told */
    PENDING_MAX = 256 * 1024,   /* unsent answers before a connection is given up */
    RING_SIZE = 256 * 1024,     /* unacknowledged output per command; a power of two */
    TERMINAL_RING = 32 * 1024,  /* the same of a terminal, so that Ctrl-C overtakes little */
    SEGMENTS = 1024,            /* changes between stdout and stderr within one ring */
    CONNECTIONS_MAX = 512,
    COMMANDS_MAX = 256,
    DRAINS_MAX = 256,
    SPARED_MAX = 64,
    ID_MAX = 64,
    PATH_BYTES = 4096,
    ENV_MAX = 1024,
    TERM_TO_KILL_MS = 2000,
    GRACE_MS = 200,             /* how long pipes held by grandchildren keep an ended command */
};

enum request {
    REQ_SPAWN = 1,   /* u32 flags, u64 timeout ms, u16 rows, u16 columns, str id, str cwd, str command
                        (empty: an interactive shell), u32 n, n str of environment */
    REQ_ATTACH = 2,  /* str id, u64 from: go on after `from` bytes of output, which acknowledges them */
    REQ_ACK = 3,     /* u64 offset: all output before it is safe with the host */
    REQ_FORGET = 4,  /* str id: drop an ended command */
    REQ_KILL = 5,    /* str id: TERM to its process group, HUP to a terminal's; KILL two seconds later */
    REQ_LIST = 6,    /* answered by ENTRY for each command, then END */
    REQ_INPUT = 7,   /* str id: this connection is the command's stdin from here on (DATA, END). OK, with
                        u8 as below and u64: how many bytes the command's stdin has been given in all */
    REQ_RESIZE = 8,  /* str id, u16 rows, u16 columns */
    REQ_PING = 9,
    REQ_CLOCK = 10,  /* u8 hold: 1 stops the clock that timeouts go by, 0 lets it go on; OK either way */
    REQ_QUIESCE = 11, /* u8 bare, if it is there: 1 lets others look into the agent meanwhile. OK, then every connection, this one last, and the listener are closed until a
                         new one is handed to DOOR_NAME; an ERROR (EBUSY while a file operation runs)
                         changes nothing */
    REQ_RELEASE = 12, /* in a copy of a sandbox: forget every command and let it run, what it writes unread;
                         but for those named, if any are: u32 n, n str ids */
    REQ_FORWARD = 13, /* u16 port, str name: the loopback's port leads to a socket in the host's folder */
    REQ_CONNECT = 14, /* u16 port: OK once the loopback's port has taken a connection, which this one is
                         from then on; ERROR (ECONNREFUSED when nothing listens) and the end otherwise */
    REQ_READ = 20,   /* u64 limit (0: none), u64 from, str path: META, then DATA or NAME frames, END */
    REQ_WRITE = 21,  /* u64 size, u32 mode and flags, str path, roots; READY, DATA from the host, END, META */
    REQ_DELETE = 22, /* str path, roots */
    REQ_MKDIR = 23,  /* u32 parents, str path, roots */
    REQ_MOVE = 24,   /* str source, str destination, roots */
    REQ_STAT = 25,   /* str path: META, whose kind is 'n' when there is nothing */
    REQ_DATA = 30,
    REQ_END = 31,
};                   /* roots: u32 n, n str: the only places where it may write */

enum answer {
    ANS_STARTED = 64, /* u32 pid, u64 acknowledged */
    ANS_OUTPUT = 65,  /* u8 stream (1 stdout, 2 stderr), u64 offset of the first byte, bytes */
    ANS_EXITED = 66,  /* u8 how ('e' exit, 's' signal), u32 code, u8 timed out, u64 duration us, u64 cpu us,
                         u64 peak memory, u64 stdout bytes, u64 stderr bytes */
    ANS_ERROR = 67,   /* u8 stage, u32 errno */
    ANS_OK = 68,      /* u32 protocol version; for a command's DATA, u8: its terminal hides what is typed */
    ANS_ENTRY = 69,   /* u8 ended, u32 pid, u64 acknowledged, u64 written, u64 age ms, str id */
    ANS_META = 70,    /* u8 kind ('f' 'd' 'o' 'n'), u64 size, u32 mode, u64 mtime us */
    ANS_DATA = 71,    /* bytes of a file */
    ANS_NAME = 72,    /* a packed run of: u8 is directory, u64 size, u32 mode, u64 mtime us, str name */
    ANS_END = 73,     /* u8 truncated */
    ANS_READY = 74,   /* the place is fine: send the bytes. With WRITE_TELL what is there now: as META,
                         then u8 whether all of its content follows, and that */
};

/* What an ANS_ERROR speaks of; the errno says the rest. */
enum stage {
    STAGE_REQUEST = 'r',   /* malformed, or out of its place */
    STAGE_COMMAND = 'c',   /* no such command, or one with that id already */
    STAGE_FORK = 'f',
    STAGE_DIRECTORY = 'd', /* the working directory */
    STAGE_EXEC = 'x',
    STAGE_FILE = 'p',
    STAGE_OUTSIDE = 'o',   /* not under a root */
    STAGE_KIND = 'k',      /* neither a regular file nor a directory */
    STAGE_LARGE = 'l',
    STAGE_CHANGED = 'n',   /* not what it was when the write began */
};

/* An abstract unix socket of the sandbox's network namespace, there while the agent is quiet. It takes
 * one byte with a listening socket's descriptor from outside, and answers a byte once it listens. */
#define DOOR_NAME ".agent"

enum { SPAWN_PTY = 1, SPAWN_STDIN = 2 };

/* Beside the bits of a mode. An agent that knows neither takes the mode and passes them over. */
#define WRITE_TELL 0x80000000U /* say in READY what the write will replace */
#define WRITE_SAME 0x40000000U /* put nothing in place of a file that has changed since READY */
enum { STDOUT_STREAM = 1, STDERR_STREAM = 2 };

/* ---- wire.c ------------------------------------------------------------------------------- */

struct reader {
    uint8_t *at, *end;
    bool bad; /* something was missing; every later get_ answers 0 */
};

struct writer {
    uint8_t bytes[128 + ID_MAX];
    size_t length;
};

uint8_t get_u8(struct reader *r);
uint16_t get_u16(struct reader *r);
uint32_t get_u32(struct reader *r);
uint64_t get_u64(struct reader *r);
char *get_str(struct reader *r, size_t longest); /* points into the frame; never NULL */

void put_u8(struct writer *w, uint8_t value);
void put_u32(struct writer *w, uint32_t value);
void put_u64(struct writer *w, uint64_t value);
void put_str(struct writer *w, const char *text);
size_t put_frame_head(uint8_t head[5], uint8_t type, size_t length);

/* ---- clock.c ------------------------------------------------------------------------------ */

struct connection;

int64_t now_ms(void);
int64_t now_us(void);
bool clock_is_held(void);
void clock_set(struct connection *c, struct reader *r);

/* ---- agent.c ------------------------------------------------------------------------------ */

struct source { /* what an epoll event leads to */
    int fd;
    uint32_t events;
    void (*ready)(struct source *source, uint32_t events);
};

struct connection {
    struct source source; /* first: a source is its connection */
    struct connection *next;
    uint8_t head[5];
    size_t head_got;
    uint8_t *body;
    size_t body_size, body_got;
    uint8_t *out;
    size_t out_size, out_sent, out_room;
    struct command *follows; /* its output goes here */
    struct command *feeds;   /* its stdin comes from here */
    bool broken;
    bool spare; /* waits for the host to speak */
};

bool source_watch(struct source *source, uint32_t events);
void source_close(struct source *source);
void send_frame(struct connection *c, uint8_t type, const void *payload, size_t length);
void send_error(struct connection *c, enum stage stage, int error);
void send_ok(struct connection *c);
void send_taken(struct connection *c, bool hidden);
void send_taken_of(struct connection *c, bool hidden, uint64_t taken);
bool has_unsent(const struct connection *c);
void input_resume(struct connection *c);
struct connection *connection_new(int fd); /* NULL when there are too many; fd is closed then */

/* ---- dial.c ------------------------------------------------------------------------------- */

/* Keep the folder with the host's sockets, hide it from all others, and give up the right to mount. */
bool dial_open(const char *folder, const char *most_processes);
int dial(const char *name); /* a connection to a socket of the host's, or -1 */
bool dials(void);           /* whether the host is called, instead of listening for it */
int64_t dial_tick(void);    /* keeps spare connections; ms until it should be called again, or -1 */
void dial_spent(struct connection *c);

/* ---- forward.c ---------------------------------------------------------------------------- */

void forward_open(struct connection *c, struct reader *r);
void forward_connect(struct connection *c, struct reader *r);
int forward_count(void); /* of connections that pass through */
int file_operations(void); /* how many run in children that hold a connection each */
void stop_listening(struct connection *last); /* and close every connection, this one last */
void stay_private(bool wanted); /* whether nobody with our ids may look into this process */
bool take_listener(int fd);    /* false, and nothing changed, unless it is a listening socket */

/* ---- quiesce.c ---------------------------------------------------------------------------- */

void quiesce(struct connection *c, struct reader *r);

/* ---- command.c ---------------------------------------------------------------------------- */

struct pipe_end {
    struct source source; /* first */
    struct command *command;
    uint8_t stream;
    uint64_t total;
    int64_t budget; /* bytes still taken once the grace is over; -1 before that */
};

struct segment {
    uint64_t end; /* of a run of bytes of one stream */
    uint8_t stream;
};

struct command {
    struct command *next;
    char id[ID_MAX + 1];
    int pid;
    bool terminal, hung_up, exited, ended, forgotten, timed_out, exit_sent;
    int status;
    struct rusage usage;
    int64_t started_us, exited_us;
    int64_t deadline_ms, kill_ms, grace_ms; /* 0: not set */
    struct pipe_end out, err;
    struct source input;
    struct connection *feeder;
    uint8_t *input_bytes;
    size_t input_size, input_sent;
    uint64_t input_taken; /* in all */
    bool input_end;
    struct connection *follower;
    uint8_t *ring;
    uint64_t base, acknowledged, sent, written;
    struct segment segments[SEGMENTS];
    size_t segment_first, segment_count;
};

void command_spawn(struct connection *c, struct reader *r);
void command_attach(struct connection *c, struct reader *r);
void command_acknowledge(struct connection *c, struct reader *r);
void command_forget(struct connection *c, struct reader *r);
void command_kill(struct connection *c, struct reader *r);
void command_list(struct connection *c);
void commands_release(struct connection *c, struct reader *r);
void command_input(struct connection *c, struct reader *r);
void command_resize(struct connection *c, struct reader *r);
void command_reaped(int pid, int status, const struct rusage *usage);
void command_pump(struct command *command);
void command_settle(struct command *command);
int64_t commands_tick(void); /* runs what is due; ms until the next, or -1 */
struct command *command_find(const char *id);

/* ---- output.c ----------------------------------------------------------------------------- */

bool output_open(struct command *command);
void output_close(struct command *command);
void output_ready(struct source *source, uint32_t events);
void output_watch(struct command *command);
void output_finish(struct command *command);
void output_release(struct command *command);
void output_acknowledge(struct command *command, uint64_t offset);
bool output_stalled(const struct command *command);

/* ---- input.c ------------------------------------------------------------------------------ */

void input_frame(struct connection *c, uint8_t type, const uint8_t *bytes, size_t length);
void input_ready(struct source *source, uint32_t events);
void input_drop(struct command *command);
void input_begin(struct command *command, struct connection *c); /* it is the feeder from here on */

/* ---- spawn.c ------------------------------------------------------------------------------ */

struct launch {
    char *cwd, *text;
    char **env;
    uint32_t flags;
    uint16_t rows, columns;
};

/* Starts the shell. Fills the command's pid and descriptors; else answers the stage, errno set. */
enum stage spawn_shell(struct command *command, const struct launch *launch);
void signals_answer(void (*handler)(int)); /* sets what every signal that can be caught does */

/* ---- session.c ---------------------------------------------------------------------------- */

void session_hang_up(int leader); /* whatever is in the session of a process that has ended */

/* ---- files.c ------------------------------------------------------------------------------ */

/* Runs in a forked child that owns the (blocking) socket. Never returns. */
_Noreturn void file_operation(int socket, uint8_t type, struct reader *r);

/* ---- paths.c ------------------------------------------------------------------------------ */

struct roots {
    uint32_t count;
    const char *at[8];
};

/* Where `path` really leads, though its last parts need not be there yet. 0 or an errno. */
int path_resolve(const char *path, bool follow_last, char resolved[PATH_BYTES]);
bool path_within(const char *resolved, const struct roots *roots, bool itself);
int path_make_parents(const char *resolved);

#endif
