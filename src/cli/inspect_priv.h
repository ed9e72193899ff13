/* Parts of urza inspect. */
#ifndef URZA_CLI_INSPECT_PRIV_H
#define URZA_CLI_INSPECT_PRIV_H

#include <jansson.h>

struct cli;
struct package_contents;

/* inspect_training.c: of a package that was read. Null, and nothing, where it has no training
 * step. */
json_t *inspect_training(struct cli *cli, const struct package_contents *contents);
void inspect_training_print(struct cli *cli, const struct package_contents *contents);

#endif
