/* Work on untrusted input in a child process, so that a crash or excessive memory there is an error
 * here. The child ends with the program, and its memory is limited to the machine's.
 *
 * Results are allocated in cli->arena. No secrets may be in this process's memory meanwhile, since
 * the child has a copy. */
#ifndef URZA_CLI_ISOLATED_PRIV_H
#define URZA_CLI_ISOLATED_PRIV_H

#include "base/child.h"
#include "verify/verify.h"

struct cli;
struct error;

/* Runs in the child, where cli->arena is the child's own. */
typedef bool isolated_fn(struct cli *cli, void *context, struct child_answer *out,
                         struct error *err);

/* To be called by the child once it has read the file that its command names: from then on it can
 * only read files of that folder (NULL: none), keys excepted, answer and print. Not usable for
 * measuring on this machine (urza tune). */
void isolated_confine(struct cli *cli, const char *folder);

struct isolated {
    isolated_fn *work;
    void *context;
    uint32_t timeout_ms; /* 0: none */
    const char *who;     /* subject of the error message when the child dies */
};
/* ERR_COMPILER_DIED or ERR_NOMEM when the child dies. */
bool isolated_run(struct cli *cli, const struct isolated *isolated, struct child_answer *out,
                  struct error *err);
/* isolated_run for reading a file and folding its constants, with a limit of ten minutes, and a
 * progress line. */
bool isolated_read(struct cli *cli, isolated_fn *work, void *context, struct child_answer *out,
                   struct error *err);
/* Prints the only part of the answer: the graph as text, or its drawing. */
void isolated_print_graph(const struct cli *cli, const struct child_answer *answer);
/* verify_package in a child that is confined like the library's. */
struct isolated_verdict {
    struct verify_summary summary;
    const char *evidence; /* JSON */
    size_t evidence_bytes;
};
bool isolated_verify(struct cli *cli, const void *bytes, size_t size,
                     const struct verify_options *options, struct isolated_verdict *out,
                     struct error *err);

#endif
