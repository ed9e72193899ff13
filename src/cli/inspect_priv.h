/* Parts of urza inspect. */
#ifndef URZA_CLI_INSPECT_PRIV_H
#define URZA_CLI_INSPECT_PRIV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct cli;
struct error;
struct package_contents;
struct step_spec;
struct strbuf;

/* inspect_training.c: of a package that was read. Null, and nothing, where it has no training
 * step. */
json_t *inspect_training(struct cli *cli, const struct package_contents *contents);
void inspect_training_print(struct cli *cli, const struct package_contents *contents);
/* Of a package in memory, aligned: what its backward pass computes again, as a line for each
 * target. Nothing where nothing is, or there is no backward pass. */
void inspect_again(struct cli *cli, const void *package, size_t size, struct strbuf *out);

/* inspect_step.c: of a package of a whole training step, what it is of. NULL: it is none, or says
 * nothing. */
const struct step_spec *inspect_spec(struct cli *cli, const struct package_contents *contents);
json_t *inspect_step(struct cli *cli, const struct package_contents *contents);
void inspect_step_print(struct cli *cli, const struct package_contents *contents);

/* inspect_graft.c: of a graft. Null, and nothing, where it is none. */
json_t *inspect_graft(struct cli *cli, const struct package_contents *contents);
void inspect_graft_print(struct cli *cli, const struct package_contents *contents);

/* inspect_special.c: of all targets; of one. */
struct package_target;
json_t *inspect_specials(const struct package_contents *contents);
void inspect_specials_print(struct cli *cli, const struct package_target *target);

/* inspect_memory.c: the plan's temporaries at one size (--memory). */
struct memory_request {
    bool wanted, backward; /* backward: of the training step */
    const char *dims;      /* as dims_choose; NULL: typical sizes */
    const char *target;    /* NULL: the best one */
    const char *svg;       /* a file that is written; NULL: none */
};
/* ERR_USAGE where one of the others is there and --memory is not. */
bool inspect_memory_options(const struct memory_request *request, struct error *err);
/* Prints it, of a package that was read. ERR_USAGE, ERR_UNSUPPORTED, ERR_LIMIT, ERR_IO. */
bool inspect_memory(struct cli *cli, const struct package_contents *contents,
                    const struct memory_request *request, struct error *err);

#endif
