/* urza verify: the validator on a finished package. */
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "verify/verify.h"

static void print(struct cli *cli, const struct verify_report *report, bool kernels_too)
{
    struct strbuf json, table;
    strbuf_init(&json, cli->arena);
    strbuf_init(&table, cli->arena);
    verify_print(report, &json);
    evidence_describe(json.data, json.size_bytes, kernels_too, &table);
    fwrite(table.data, 1, table.size_bytes, stdout);
}

/* The outcome as an error: which check failed first, and how many. */
static bool judge(const struct verify_report *report, const char *path, struct error *err)
{
    const char *first = "";
    uint32_t failed = 0;
    if (report->pass)
        return true;
    for (uint32_t i = 0; i < report->count; i++)
        if (!report->checks[i].pass && failed++ == 0)
            first = report->checks[i].name;
    fail(err, ERR_VERIFY, "%u of %u checks fail, '%s' first", failed, report->count, first);
    return fail_at(err, "%s", path);
}

bool cmd_verify(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct verify_options options = {.size_count = 2};
    struct text_list keys = {0};
    struct trusted_keys trusted;
    struct verify_report report;
    struct progress progress;
    bool kernels_too = false;
    const void *bytes;
    size_t size;
    char **words;
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
    if (!args_parse(cli, rows, argc, argv, 1, 1, &words, err) ||
        !bundle_trusted(cli, &keys, &trusted, err) ||
        !bundle_read(cli, words[0], &bytes, &size, err))
        return false;
    options.trusted = &trusted;
    progress_begin(&progress, cli, "verifying");
    bool ok = verify_package(bytes, size, &options, cli->arena, &report, err);
    progress_end(&progress);
    if (!ok)
        return fail_at(err, "%s", words[0]);
    if (cli->json)
        report_json(evidence_json(&report));
    else
        print(cli, &report, kernels_too);
    return judge(&report, words[0], err);
}
