/* Command lines of urza bench and urza profile. Help lists a command's own options between those
 * that select what is measured and those about trust. */
#include "cli/measuring_priv.h"

#include <assert.h>

#include "base/error.h"

#define ROWS_MOST 16

bool measuring_parse(struct cli *cli, int argc, char **argv, const struct measuring_rows *rows,
                     struct measuring *out, struct error *err)
{
    *out = (struct measuring){.open = {.threads = 1, .keys = &out->keys}, .seconds = 1};
    const struct option_row before[] = {
        {"dims", 0, OPTION_TEXT, "LIST", &out->dims, "B=32,S=16: sizes (default: typical ones)"},
        {"threads", 0, OPTION_COUNT, "N", &out->open.threads, "threads to use (default: 1)"},
        {"seconds", 0, OPTION_REAL, "S", &out->seconds, rows->seconds_doc},
        {"target", 0, OPTION_TEXT, "NAME", &out->open.target, rows->target_doc},
        {"backward", 0, OPTION_FLAG, NULL, &out->backward,
         "measure forward_train and backward, with all gradients"},
    };
    const struct option_row behind[] = {
        {"key", 0, OPTION_LIST, "HEX", &out->keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &out->open.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    struct words words = {.least = 1, .most = 1};
    struct option_row all[ROWS_MOST];
    size_t count = 0;
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
        all[count++] = before[i];
    for (const struct option_row *row = rows->own; row && row->name; row++)
        all[count++] = *row;
    assert(count + sizeof behind / sizeof behind[0] <= ROWS_MOST);
    for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++)
        all[count++] = behind[i];
    if (!args_parse(cli, all, argc, argv, &words, err))
        return false;
    out->open.path = words.items[0];
    return true;
}

bool measuring_open(struct cli *cli, const struct measuring *measuring, struct bundle *out,
                    struct profile_options *out_options, struct error *err)
{
    struct profile_options options = {
        .dims = measuring->dims, .seconds = measuring->seconds, .backward = measuring->backward};
    if (!bundle_prepare(cli, &measuring->open, out, &options.load, err))
        return false;
    *out_options = options;
    return true;
}
