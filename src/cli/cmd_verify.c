/* urza verify: the validator on a finished package. */
#include <stdio.h>

#include "base/error.h"
#include "cli/apart_priv.h"
#include "cli/cli_priv.h"
#include "verify/verify.h"

static json_t *describe(const struct verify_report *report)
{
    json_t *object = json_object(), *checks = json_array();
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *check = &report->checks[i];
        json_t *item = json_object();
        json_object_set_new(item, "name", report_text(check->name));
        json_object_set_new(item, "pass", json_boolean(check->pass));
        json_object_set_new(item, "figure", report_number(check->figure));
        json_object_set_new(item, "bound", report_number(check->bound));
        json_object_set_new(item, "detail", report_text(check->detail));
        json_array_append_new(checks, item);
    }
    json_object_set_new(object, "pass", json_boolean(report->pass));
    json_object_set_new(object, "checks", checks);
    return object;
}

static void print(const struct verify_report *report)
{
    for (uint32_t i = 0; i < report->count; i++) {
        const struct verify_check *check = &report->checks[i];
        report_lines(stdout, "%-4s  %-36s %.3g, at most %.3g%s%s\n", check->pass ? "pass" : "FAIL",
                     check->name, check->figure, check->bound, check->detail[0] ? "  " : "",
                     check->detail);
    }
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
    const void *bytes;
    size_t size;
    char **words;
    const struct option_row rows[] = {
        {"dims", 0, OPTION_TEXT, "LIST", &options.dims,
         "B=32,S=16: at these sizes (default: several)"},
        {"seed", 0, OPTION_SEED, "N", &options.seed, "of the random inputs (default: 0)"},
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
    progress_begin(cli, "verifying");
    bool ok = apart_verify(cli, bytes, size, &options, &report, err);
    progress_end(cli);
    if (!ok)
        return fail_at(err, "%s", words[0]);
    if (cli->json)
        report_json(describe(&report));
    else
        print(&report);
    return judge(&report, words[0], err);
}
