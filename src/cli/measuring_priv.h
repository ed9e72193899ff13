/* What the commands that measure a package share: options, and reading it. */
#ifndef URZA_CLI_MEASURING_PRIV_H
#define URZA_CLI_MEASURING_PRIV_H

#include "cli/cli_priv.h"

struct measuring {
    struct bundle_options open;
    struct text_list keys; /* --key */
    const char *dims;      /* as in profile_options, like seconds */
    double seconds;
};

/* What differs from command to command. */
struct measuring_rows {
    const char *seconds_doc, *target_doc; /* of these options */
    const struct option_row *own;         /* further options, ended by {0}; NULL: none */
};
/* Parses the command line into *out. As args_parse. */
bool measuring_parse(struct cli *cli, int argc, char **argv, const struct measuring_rows *rows,
                     struct measuring *out, struct error *err);
/* Reads the package, and fills options but for peaks. */
bool measuring_open(struct cli *cli, const struct measuring *measuring, struct bundle *out,
                    struct profile_options *out_options, struct error *err);

#endif
