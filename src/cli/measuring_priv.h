/* Shared by the commands that measure a package: options, and reading the package. */
#ifndef URZA_CLI_MEASURING_PRIV_H
#define URZA_CLI_MEASURING_PRIV_H

#include "cli/cli_priv.h"

struct measuring {
    struct bundle_options open;
    struct text_list keys; /* --key */
    const char *dims;      /* dims and seconds as in profile_options */
    double seconds;
    bool backward; /* of the training step: forward_train and backward */
};

/* The differences between the commands. */
struct measuring_rows {
    const char *seconds_doc, *target_doc; /* help texts of these options */
    const struct option_row *own;         /* further options, ending with {0}; NULL: none */
};
/* Parses the command line into *out. Fails as args_parse. */
bool measuring_parse(struct cli *cli, int argc, char **argv, const struct measuring_rows *rows,
                     struct measuring *out, struct error *err);
/* Reads the package, and fills the options except peaks. */
bool measuring_open(struct cli *cli, const struct measuring *measuring, struct bundle *out,
                    struct profile_options *out_options, struct error *err);

#endif
