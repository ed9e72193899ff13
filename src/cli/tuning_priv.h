/* Shared by the commands that tune. */
#ifndef URZA_CLI_TUNING_PRIV_H
#define URZA_CLI_TUNING_PRIV_H

#include <jansson.h>
#include <stdbool.h>

#include "urza/tune.h"

struct cli;
struct error;

/* Opens a tuner on the user's cache, with warnings on standard error; close it with
 * urza_tuner_close. ERR_USAGE if no folder is configured. */
bool tuning_open(struct cli *cli, const urza_tuner_options *wish, urza_tuner **out,
                 struct error *err);
/* For urza_tuner_options: shows progress as a line on the terminal; user is the struct cli. May be
 * called in a child process. */
void tuning_progress(void *user, const urza_tune_progress *progress);
/* Prints two lines about an entry of urza_tuner_list. */
void tuning_row(struct cli *cli, const json_t *row);
#define TUNING_TIME_BYTES 32
void tuning_time(double ns, char out[TUNING_TIME_BYTES]);         /* "2.08 ms" */
const char *tuning_config(struct cli *cli, const json_t *config); /* "columns 32, rows 12" */

#endif
