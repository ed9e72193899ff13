/* Runs code that may crash, hang, end its process or want too much memory, in a child process.
 *
 * The child sees a copy of everything the caller has; what it says comes back through a pipe, as
 * blocks of bytes. It is held to limits on time and memory, and it dies with the thread that
 * called: nothing is left running when the parent is killed. How it ended is data (enum child_end),
 * so that each caller can say it in its own words.
 *
 * Forks: while other threads run, the body must not need locks that they may hold. Not for bodies
 * that hold secrets back: the child sees those, too, so callers wipe them before. */
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

/* What a body has to say: up to CHILD_PARTS blocks. In the child they are borrowed until it ends;
 * in the parent they are 64-aligned, lie in the caller's arena and have one zero byte behind them.
 */
struct child_answer {
    struct child_part {
        const void *data;
        size_t size_bytes;
    } parts[CHILD_PARTS];
    uint64_t peak_bytes; /* in the parent: most memory that was resident, as the child says */
};

struct child_limits {
    uint32_t timeout_ms;   /* of wall-clock time; 0: none */
    uint64_t memory_bytes; /* of address space on top of what the caller has; 0: none. Not held
                              where a sanitizer needs more than any limit */
    uint64_t answer_bytes; /* all parts together; 0: none */
    uint64_t file_bytes;   /* of one file that it writes, in memory or elsewhere; 0: none */
    bool sealed;           /* the child has no descriptors but the one for its answer, and is the
                              first of a group of processes */
};

enum child_end {
    CHILD_NONE,
    CHILD_DONE,      /* the body returned true, *out_answer is filled */
    CHILD_FAILED,    /* *err says why: the body's error, or ERR_IO or ERR_NOMEM of starting it, or
                        ERR_LIMIT or ERR_NOMEM of taking the answer */
    CHILD_TIMED_OUT, /* killed after timeout_ms */
    CHILD_NO_MEMORY, /* ended itself by child_no_memory */
    CHILD_SIGNAL,    /* killed by signal `number` */
    CHILD_STATUS,    /* ended itself with exit status `number` */
    CHILD_LOST       /* it ended, but the host ignores SIGCHLD or waited for it: no status */
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

/* The two halves of child_run, for who forks elsewhere and hands the ends of a pipe out.
 *
 * child_serve is the child's: held to the limits, it runs the body, writes its answer to fd and
 * ends. parent: whose child it must still be. */
URZA_NORETURN void child_serve(int fd, pid_t parent, child_body *body, void *context,
                               const struct child_limits *limits);
/* Where an answer comes from, and until when. */
struct child_source {
    int fd;
    uint64_t deadline_ns;         /* of clock_ns; 0: none */
    const atomic_bool *cancelled; /* NULL: never */
    bool (*ended)(void *context); /* whether the child has, which somebody may know although others
                                     hold its end of the pipe; NULL: nobody does */
    void *context;
};
/* The other end's: takes the answer, whose texts it does not look at. CHILD_DONE, CHILD_FAILED, or
 * CHILD_NONE: the child did not say all. */
enum child_end child_receive(const struct child_source *source, const struct child_limits *limits,
                             struct arena *arena, struct child_answer *out_answer,
                             struct error *err);
/* For texts of an answer: what is not UTF-8 becomes '?', and control characters, too, unless
 * controls. Errors are cleaned so far that they are UTF-8. */
void child_clean(char *text, bool controls);

/* Whether a child has come to its end, whoever else waits for it; it stays to be waited for. */
bool child_ended(pid_t pid);
/* Kills a child that was not waited for yet, and what it has forked, if it was sealed. */
void child_kill(pid_t pid);
/* What a status of waitpid says. */
struct child_exit child_exit_of(int status);

/* For ends that left *err alone: fills it, with who as the subject of the sentence ("the
 * compiler"). CHILD_NO_MEMORY is ERR_NOMEM and names the limit; the others are of class code. */
bool child_fail(struct child_exit end, const struct child_limits *limits, const char *who,
                enum error_code code, struct error *err);

/* A limit on memory for work of unknown size: what the machine has, as more cannot end well, and at
 * least 8 GiB. */
uint64_t child_memory_most(void);

/* Ends the process by the exit status of ERR_NOMEM, which parents take for CHILD_NO_MEMORY: what an
 * allocation does in a child that can neither have the memory nor go on without. */
URZA_NORETURN void child_no_memory(void);
/* For a program: what child_no_memory says, if it ends this process and not a child of it (which
 * child_serve serves). Like a handler of a signal, it belongs to the process; set while there is
 * one thread. It must not allocate. */
void child_on_no_memory(void (*say)(void));
/* For a child just forked, which is as its host was: deadly signals kill (the host's handlers, a
 * sanitizer's say, must not turn a crash into an exit), ends of children are told, SIGPIPE and
 * SIGXFSZ are ignored, no core is dumped, floating-point numbers are rounded to the nearest,
 * without traps and with subnormal ones. */
void child_defaults(void);

#endif
