/* What commands that tune share. */
#ifndef URZA_CLI_TUNING_PRIV_H
#define URZA_CLI_TUNING_PRIV_H

#include <jansson.h>
#include <stdbool.h>

#include "urza/tune.h"

struct cli;
struct error;

/* A tuner on the user's cache, warnings on standard error; urza_tuner_close. ERR_USAGE when nothing
 * names a folder. */
bool tuning_open(struct cli *cli, const urza_tuner_options *wish, urza_tuner **out,
                 struct error *err);
/* For urza_tuner_options: progress as a line of a terminal, user is the struct cli. It may be
 * called in a child process. */
void tuning_progress(void *user, const urza_tune_progress *progress);
/* Two lines about an entry as urza_tuner_list has it. */
void tuning_row(struct cli *cli, const json_t *row);
#define TUNING_TIME_BYTES 32
void tuning_time(double ns, char out[TUNING_TIME_BYTES]);         /* "2.08 ms" */
const char *tuning_config(struct cli *cli, const json_t *config); /* "columns 32, rows 12" */

#endif
