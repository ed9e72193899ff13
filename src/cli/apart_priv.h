/* Work on what others wrote, in a child process, so that whatever it wants or does is an error of
 * this one. The child is ended with the program, and held to the machine's memory.
 *
 * The functions take what they return from cli->arena. No secret of this process may lie in its
 * memory meanwhile: the child has a copy. */
#ifndef URZA_CLI_APART_PRIV_H
#define URZA_CLI_APART_PRIV_H

#include "base/child.h"
#include "verify/verify.h"

struct cli;
struct error;

/* Runs in the child, where cli->arena is the child's own. */
typedef bool apart_fn(struct cli *cli, void *context, struct child_answer *out, struct error *err);

/* For the child, once it has read what its command names: from here on it reads files of that
 * folder (NULL: none), keys excepted, and does nothing else to the outside but answer and print.
 * Who measures on this machine cannot have it so (urza tune). */
void apart_confine(struct cli *cli, const char *folder);

struct apart {
    apart_fn *work;
    void *context;
    uint32_t timeout_ms; /* 0: none */
    const char *who;     /* the subject of what is said when the child dies */
};
/* ERR_COMPILER_DIED or ERR_NOMEM when the child dies. */
bool apart_run(struct cli *cli, const struct apart *apart, struct child_answer *out,
               struct error *err);
/* The same for work that reads a file and folds its constants: ten minutes at most. */
bool apart_read(struct cli *cli, apart_fn *work, void *context, struct child_answer *out,
                struct error *err);
/* Prints the graph in text, or its drawing, that is the answer's only part. */
void apart_print_graph(const struct cli *cli, const struct child_answer *answer);
/* verify_package in a child that is confined as the library's is. */
struct apart_verdict {
    struct verify_summary summary;
    const char *evidence; /* JSON */
    size_t evidence_bytes;
};
bool apart_verify(struct cli *cli, const void *bytes, size_t size,
                  const struct verify_options *options, struct apart_verdict *out,
                  struct error *err);

#endif
