/* Command lines by getopt_long, and help from the same table. */
#include <assert.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"

#define OPTIONS_MAX 64
#define LONG_ONLY 256 /* value of the first row for getopt; letters are below */

static const struct option_row common_rows[] = {
    {"json", 0, OPTION_FLAG, NULL, NULL, "print the result, and an error, as one line of JSON"},
    {"quiet", 'q', OPTION_FLAG, NULL, NULL, "show no progress and no warnings"},
    {"help", 'h', OPTION_FLAG, NULL, NULL, "print this text"},
};
#define COMMON_COUNT (sizeof common_rows / sizeof common_rows[0])

bool args_number(const char *text, uint64_t maximum, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (*text < '0' || *text > '9' || value > (maximum - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0)
        return false;
    *out = value;
    return true;
}

static bool set_option(struct cli *cli, const struct option_row *row, char *text, struct error *err)
{
    uint64_t number = 0;
    switch ((enum option_kind)row->kind) {
    case OPTION_NONE: break;
    case OPTION_FLAG: *(bool *)row->out = true; return true;
    case OPTION_TEXT: *(const char **)row->out = text; return true;
    case OPTION_LIST: {
        struct text_list *list = row->out;
        if (*text == '\0')
            return fail(err, ERR_USAGE, "--%s is empty, expected %s", row->name, row->value);
        VEC_PUSH(cli->arena, &list->texts, text);
        return true;
    }
    case OPTION_COUNT:
        if (!args_number(text, LIMIT_THREADS, &number) || number == 0)
            return fail(err, ERR_USAGE, "--%s expects a number from 1 to %d, not '%s'", row->name,
                        LIMIT_THREADS, text);
        *(uint32_t *)row->out = (uint32_t)number;
        return true;
    case OPTION_SEED:
        return args_number(text, UINT64_MAX, row->out) ||
               fail(err, ERR_USAGE, "--%s expects a number from 0 to 2^64 - 1, not '%s'", row->name,
                    text);
    case OPTION_REAL:
        return parse_real(text, row->out) ||
               fail(err, ERR_USAGE, "--%s expects a number above 0, not '%s'", row->name, text);
    }
    return fail(err, ERR_BUG, "option '%s' has no kind", row->name);
}

static void print_row(const struct option_row *row)
{
    char left[64];
    snprintf(left, sizeof left, "%c%c%c --%s%s%s", row->letter ? '-' : ' ',
             row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
             row->value ? " " : "", row->value ? row->value : "");
    printf("  %-30s %s\n", left, row->doc);
}

static void print_help(const struct cli *cli, const struct option_row *rows)
{
    const struct command *command = cli->command;
    printf("Usage: urza %s %s\n\n", command->name, command->usage);
    printf("%c%s.\n\nOptions:\n", command->doc[0] - 'a' + 'A', command->doc + 1);
    for (; rows->name; rows++)
        print_row(rows);
    for (size_t i = 0; i < COMMON_COUNT; i++)
        print_row(&common_rows[i]);
    printf("\nExample:\n  %s\n", command->example);
}

/* getopt's tables, for the rows followed by the common rows. */
struct tables {
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 2];
    const struct option_row *rows[OPTIONS_MAX];
    int count;
};

static void add_row(struct tables *tables, const struct option_row *row, size_t *letter_count)
{
    assert(tables->count < OPTIONS_MAX);
    bool valued = row->kind != OPTION_FLAG;
    tables->rows[tables->count] = row;
    tables->longs[tables->count] =
        (struct option){.name = row->name,
                        .has_arg = valued ? required_argument : no_argument,
                        .val = LONG_ONLY + tables->count};
    tables->count++;
    if (!row->letter)
        return;
    tables->letters[(*letter_count)++] = row->letter;
    if (valued)
        tables->letters[(*letter_count)++] = ':';
}

static void fill_tables(struct tables *tables, const struct option_row *rows)
{
    size_t letter_count = 1;
    *tables = (struct tables){.letters = ":"}; /* leading ':': getopt reports a missing value as
                                                  such */
    for (; rows->name; rows++)
        add_row(tables, rows, &letter_count);
    for (size_t i = 0; i < COMMON_COUNT; i++)
        add_row(tables, &common_rows[i], &letter_count);
}

/* The option that was just parsed, as it was written; the word may be followed by its value. */
static const char *last_option(char **argv)
{
    return argv[optind - 1] == optarg ? argv[optind - 2] : argv[optind - 1];
}

/* getopt_long also accepts unique prefixes of names. They are refused here, since the meaning of a
 * command line must not change when options are added. */
static bool is_spelled_out(const char *word, const char *name)
{
    size_t length = strlen(name);
    return strncmp(word, "--", 2) != 0 || (strncmp(word + 2, name, length) == 0 &&
                                           (word[2 + length] == '\0' || word[2 + length] == '='));
}

static const struct option_row *find_row(const struct tables *tables, int found)
{
    if (found >= LONG_ONLY && found < LONG_ONLY + tables->count)
        return tables->rows[found - LONG_ONLY];
    for (int i = 0; i < tables->count; i++)
        if (tables->rows[i]->letter && tables->rows[i]->letter == found)
            return tables->rows[i];
    return NULL;
}

/* Names the nearest long option, unless the word is a letter. */
static bool refuse_option(const struct cli *cli, const struct tables *tables, const char *word,
                          struct error *err)
{
    const char *command = cli->command->name, *best = tables->rows[0]->name;
    if (strncmp(word, "--", 2) != 0)
        return fail(err, ERR_USAGE, "'%s' is no option of 'urza %s'; see urza %s --help", word,
                    command, command);
    char *name = arena_strndup(cli->arena, word + 2, strcspn(word + 2, "="));
    for (int i = 1; i < tables->count; i++)
        if (name_is_nearer(name, tables->rows[i]->name, best))
            best = tables->rows[i]->name;
    return fail(err, ERR_USAGE,
                "'--%s' is no option of 'urza %s', the nearest is --%s; see urza %s --help", name,
                command, best, command);
}

bool args_parse(struct cli *cli, const struct option_row *rows, int argc, char **argv,
                struct words *words, struct error *err)
{
    struct tables tables;
    fill_tables(&tables, rows);
    opterr = 0;
    optind = 1;
    for (;;) {
        int found = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        if (found == -1)
            break;
        const struct option_row *row = find_row(&tables, found == ':' ? optopt : found);
        if (row && !is_spelled_out(last_option(argv), row->name))
            row = NULL;
        if (row && found == ':')
            return fail(err, ERR_USAGE, "'%s' needs a value", argv[optind - 1]);
        if (!row)
            return refuse_option(cli, &tables, last_option(argv), err);
        if (row == &common_rows[0]) {
            cli->json = true;
        } else if (row == &common_rows[1]) {
            cli->quiet = true;
            cli->progress = false;
        } else if (row == &common_rows[2]) {
            print_help(cli, rows);
            return false;
        } else if (!set_option(cli, row, optarg, err)) {
            return false;
        }
    }
    uint32_t count = (uint32_t)(argc - optind);
    if (count < words->least || count > words->most)
        return fail(err, ERR_USAGE, "usage: urza %s %s", cli->command->name, cli->command->usage);
    words->items = argv + optind;
    return true;
}
