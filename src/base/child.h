/* Runs code that may crash, hang, end its process or want too much memory, in a child process.
 *
 * The child has a copy of the caller's memory; its answer comes back through a pipe, as blocks of
 * bytes. It runs under limits on time and memory, and the kernel kills it when the calling thread
 * ends: nothing is left running when the parent is killed. How it ended is reported as data (enum
 * child_end), so that each caller can word its own message.
 *
 * The child is made by fork: while other threads run, the body must not need locks that they may
 * hold. The child also has a copy of any secrets in memory, so callers wipe those first. */
#ifndef URZA_BASE_CHILD_H
#define URZA_BASE_CHILD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/error.h"

struct arena;

#define CHILD_PARTS 4

/* The answer of a body: up to CHILD_PARTS blocks of bytes. In the child the blocks are borrowed
 * until the child ends; in the parent they are 64-aligned, lie in the caller's arena and have one
 * zero byte after the end.
 */
struct child_answer {
    struct child_part {
        const void *data;
        size_t size_bytes;
    } parts[CHILD_PARTS];
    uint64_t peak_bytes; /* in the parent: peak resident memory, as the child reports it */
};

struct child_limits {
    uint32_t timeout_ms;   /* of wall-clock time; 0: none */
    uint64_t memory_bytes; /* of address space, in addition to what the caller has mapped; 0: none.
                              Not enforced under a sanitizer, whose shadow memory exceeds any limit
                            */
    uint64_t answer_bytes; /* sum of all parts; 0: none */
    uint64_t file_bytes;   /* of any one file that it writes, memory files included; 0: none */
    bool sealed; /* the child keeps no descriptor but the one for its answer, and leads a process
                    group of its own */
};

enum child_end {
    CHILD_NONE,
    CHILD_DONE,   /* the body returned true, *out_answer is filled */
    CHILD_FAILED, /* *err holds the reason: the body's error, or ERR_IO or ERR_NOMEM of starting the
                     child, or ERR_LIMIT or ERR_NOMEM of reading its answer */
    CHILD_TIMED_OUT, /* killed after timeout_ms */
    CHILD_NO_MEMORY, /* ended itself through child_no_memory */
    CHILD_SIGNAL,    /* killed by signal `number` */
    CHILD_STATUS,    /* ended itself with exit status `number` */
    CHILD_LOST /* it ended, but the exit status is unknown: the host ignores SIGCHLD or has reaped
                  the child */
};
struct child_exit {
    enum child_end end;
    int number;
};

/* Runs in the child. arena is the child's own; running out of it is CHILD_NO_MEMORY. */
typedef bool child_body(void *context, struct arena *arena, struct child_answer *out_answer,
                        struct error *err);

/* Calls body in a child and waits for its end. */
struct child_exit child_run(child_body *body, void *context, const struct child_limits *limits,
                            struct arena *arena, struct child_answer *out_answer,
                            struct error *err);

/* The two halves of child_run, for callers that fork elsewhere and pass the ends of the pipe
 * around.
 *
 * child_serve runs in the child: it sets the limits, runs the body, writes the answer to fd and
 * ends the process. parent: the process that must still be its parent. */
URZA_NORETURN void child_serve(int fd, pid_t parent, child_body *body, void *context,
                               const struct child_limits *limits);
/* Where an answer is read from, and until when. */
struct child_source {
    int fd;
    uint64_t deadline_ns;         /* of clock_ns; 0: none */
    const atomic_bool *cancelled; /* NULL: never */
    bool (*ended)(void *context); /* whether the child has ended, for callers who know although
                                     another process may hold its end of the pipe open; NULL:
                                     unknown */
    void *context;
};
/* The parent's half: reads the answer without checking the texts in it. Returns CHILD_DONE,
 * CHILD_FAILED, or CHILD_NONE when the answer is incomplete. */
enum child_end child_receive(const struct child_source *source, const struct child_limits *limits,
                             struct arena *arena, struct child_answer *out_answer,
                             struct error *err);
/* Cleans a text of an answer: bytes that are not UTF-8 become '?', and so do control characters
 * unless `controls`. Errors of a child are already cleaned so that they are UTF-8. */
void child_clean(char *text, bool controls);

/* Whether a child has ended, whoever waits for it; it is not reaped. */
bool child_ended(pid_t pid);
/* Kills a child that has not been reaped, and, if it was sealed, the processes it has forked. */
void child_kill(pid_t pid);
/* Decodes a status of waitpid. */
struct child_exit child_exit_of(int status);

/* For ends that left *err alone: fills it, with who as the subject of the sentence ("the
 * compiler"). CHILD_NO_MEMORY becomes ERR_NOMEM and names the limit; the others get the class
 * `code`. */
bool child_fail(struct child_exit end, const struct child_limits *limits, const char *who,
                enum error_code code, struct error *err);

/* A memory limit for work of unknown size: the machine's memory, since using more cannot succeed,
 * and at least 8 GiB. */
uint64_t child_memory_most(void);

/* Ends the process with the exit status of ERR_NOMEM, which parents report as CHILD_NO_MEMORY: for
 * a failed allocation in a child that cannot continue without it. */
URZA_NORETURN void child_no_memory(void);
/* For a program: sets what child_no_memory calls if it ends this process and not a child of it
 * (which child_serve serves). It belongs to the process; set it while there is one thread. It must
 * not allocate. */
void child_on_no_memory(void (*say)(void));
/* For a child just forked, which has inherited its host's settings. Resets deadly signals to their
 * default (a handler of the host, such as a sanitizer's, must not turn a crash into an exit) and
 * SIGCHLD, ignores SIGPIPE and SIGXFSZ, disables core dumps, and sets floating point to round to
 * nearest, without traps and with subnormals. */
void child_defaults(void);
/* Limits the address space of this process to what it has mapped and `bytes` more; never above the
 * limit that it has. 0, and under a sanitizer: no limit. */
void child_limit_memory(uint64_t bytes);
/* How much more this process may map, or might when it was limited, if it is confined; UINT64_MAX:
 * there is no limit. */
uint64_t child_memory_left(void);

#endif
