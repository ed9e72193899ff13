/* urza verify: runs the validator on a finished package. */
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/isolated_priv.h"
#include "cli/cli_priv.h"
#include "verify/verify.h"

/* Converts the outcome to an error: the first failed check, and how many failed. */
static bool judge(const struct verify_summary *summary, const char *path, struct error *err)
{
    if (summary->pass)
        return true;
    fail(err, ERR_VERIFY, "%u of %u checks fail, '%s' first", summary->failed, summary->count,
         summary->name);
    return fail_at(err, "%s", path);
}

bool cmd_verify(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct verify_options options = {.size_count = 2, .thorough = true};
    struct text_list keys = {0};
    struct trusted_keys trusted;
    struct isolated_verdict verdict;
    struct strbuf table;
    bool kernels_too = false;
    const void *bytes;
    size_t size;
    struct words words = {.least = 1, .most = 1};
    const struct option_row rows[] = {
        {"dims", 0, OPTION_TEXT, "LIST", &options.dims,
         "B=32,S=16: at these sizes (default: several)"},
        {"seed", 0, OPTION_SEED, "N", &options.seed, "of the random inputs (default: 0)"},
        {"kernels", 0, OPTION_FLAG, NULL, &kernels_too, "print a line for each kernel too"},
        {"key", 0, OPTION_LIST, "HEX", &keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &options.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    strbuf_init(&table, cli->arena);
    if (!args_parse(cli, rows, argc, argv, &words, err) ||
        !bundle_trusted(cli, &keys, &trusted, err) ||
        !bundle_read(cli, words.items[0], &bytes, &size, err))
        return false;
    options.trusted = &trusted;
    progress_begin(cli, "verifying");
    options.board = cli->shown.board;
    bool ok = isolated_verify(cli, bytes, size, &options, &verdict, err);
    progress_end(cli);
    if (!ok)
        return fail_at(err, "%s", words.items[0]);
    if (cli->json) {
        printf("%s\n", verdict.evidence);
    } else {
        evidence_describe(verdict.evidence, verdict.evidence_bytes, kernels_too, &table);
        report_lines(stdout, "%s", table.data);
    }
    return judge(&verdict.summary, words.items[0], err);
}
