/* What the commands of the program `urza` share.
 *
 * A command is a row of commands.def and a function in a file of its own. It parses its arguments
 * with args_parse, works in the arena it is given, prints its result on standard output and returns
 * false with a filled error on failure; only main prints errors and ends the process. One thread.
 */
#ifndef URZA_CLI_CLI_PRIV_H
#define URZA_CLI_CLI_PRIV_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "profile/profile.h"
#include "package/package.h"
#include "urza/run.h"

struct error;
struct strbuf;

struct command;

/* The line on the terminal, under way or not. */
struct progress {
    const char *what;
    bool running, stop;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
};

struct cli {
    const struct command *command;
    struct arena *arena; /* lives as long as the process */
    const char *home;    /* folder of keys; NULL when the environment names none */
    const char *cache;   /* folder of what was compiled before; NULL as above */
    const char *(*variable)(const char *name); /* of the environment; NULL: not set */
    bool json;                                 /* results and errors as JSON */
    struct signing_key key; /* only while something is signed; all zero otherwise */
    bool progress;          /* standard error is a terminal, where progress may be shown */
    struct progress shown;  /* here, because its thread outlives a jump to where memory ran out */
};

typedef bool command_fn(struct cli *cli, int argc, char **argv, struct error *err);

struct command {
    const char *name, *usage, *doc, *example;
    command_fn *run;
};

#define COMMAND(id, name, usage, function, doc, example) command_fn function;
#include "cli/commands.def"
#undef COMMAND

/* Arguments. */

enum option_kind {
    OPTION_NONE,
    OPTION_FLAG,  /* bool */
    OPTION_TEXT,  /* const char *, borrowed from argv */
    OPTION_LIST,  /* struct text_list: may be given again and again */
    OPTION_COUNT, /* uint32_t, from 1 */
    OPTION_SEED,  /* uint64_t */
    OPTION_REAL,  /* double, above 0 */
};

struct text_list {
    VEC(const char *) texts;
};

struct option_row {
    const char *name;  /* without dashes; NULL ends a table */
    char letter;       /* the short form; 0: none */
    uint8_t kind;      /* enum option_kind */
    const char *value; /* what the help calls the value; NULL for a flag */
    void *out;         /* of the kind's type; left alone when the option is not given */
    const char *doc;
};

/* What is not an option. */
struct words {
    uint32_t least, most; /* how many there may be: set by the caller */
    char **items;         /* terminated by NULL */
};

/* Parses argv[1 …] by rows (--json and --help are always there). ERR_USAGE. --help prints the help
 * and returns false with an untouched error: nothing is left to be done. */
bool args_parse(struct cli *cli, const struct option_row *rows, int argc, char **argv,
                struct words *words, struct error *err);
/* Of the names that name_at gives (NULL behind the last; there is one at least), the one that
 * differs from what was given in the fewest letters. */
const char *args_nearest(const char *given, const char *(*name_at)(uint32_t index));
/* The texts of an option that may be given more than once, a line each. */
const char *args_lines(struct cli *cli, const struct text_list *list);
#define DIM_OPTION_HELP "a named dim's size, or its range LEAST..MOST, or FACTOR* for multiples"
bool args_number(const char *text, uint64_t maximum, uint64_t *out); /* decimal digits only */

/* Reports. What is printed as plain text goes through these: unprintable characters are shown by
 * their numbers (shown.c). */

void report_lines(FILE *file, const char *fmt, ...) URZA_PRINTF(2, 3); /* keeps line ends, tabs */
void report_block(FILE *file, const char *text, size_t size);          /* the same */
void report_part(FILE *file, const char *text); /* of one line: a line end is unprintable, too */
const char *report_word(struct cli *cli, const char *text); /* such a part, for report_lines */

/* One line `urza: class: place: message` on standard error, or an object {error, message, place}.
 */
void report_error(bool json, const struct error *err);
/* Prints value as one line on standard output and releases it. */
void report_json(json_t *value);
json_t *report_number(double value);   /* null for what JSON cannot say */
json_t *report_text(const char *text); /* a string; bytes that are not UTF-8 become '?' */

/* A line on the terminal, once a second, from the first second on, while work goes on between begin
 * and end (again, or without begin: nothing). Uses a thread that takes no locks but its own. */
void progress_begin(struct cli *cli, const char *what);
void progress_end(struct cli *cli);

/* Dumps: DUMP_ALL of compile.h as files in a folder, with a page; the folder is made, and refused
 * (ERR_USAGE) where it holds anything but such files. ERR_IO. */
bool dump_all_write(struct cli *cli, const char *path, const char *dump, struct error *err);

/* Packages. */

const char *bundle_keys(struct cli *cli); /* the folder of keys; NULL: there is none */
/* The folder of a blueprint's file, where its relative paths start; NULL for "-". */
const char *bundle_folder(struct cli *cli, const char *path);
/* How large a file may be, by its first bytes: a package, a model, or JSON. */
size_t bundle_limit(const void *head, size_t size);
/* The bytes of such a file, 64-aligned, in the arena. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT, which is
 * found before anything is read. */
bool bundle_read(struct cli *cli, const char *path, const void **out_bytes, size_t *out_size,
                 struct error *err);
/* The same; "-" is standard input. */
bool bundle_read_source(struct cli *cli, const char *path, const char **out_text, size_t *out_size,
                        struct error *err);
/* The user's trusted keys and those given in hex (--key). ERR_USAGE for text that is no key. */
bool bundle_trusted(struct cli *cli, const struct text_list *keys, struct trusted_keys *out,
                    struct error *err);

/* How a command opens a package to run it. */
struct bundle_options {
    const char *path;
    const struct text_list *keys;
    bool allow_unsigned;
    const char *target; /* NULL: the best one */
    uint32_t threads;
};
struct bundle {
    const void *bytes;
    size_t size_bytes;
    urza_module *module;
    struct graph graph; /* as the package states it */
};
/* Reads the package, and says how the runtime is to load it. */
bool bundle_prepare(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                    urza_load_options *out_load, struct error *err);
/* Loads with the public runtime. bundle_release after success only. */
bool bundle_open(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                 struct error *err);
void bundle_release(struct bundle *bundle);
bool bundle_fail(const urza_error *from, struct error *err); /* the runtime's error as ours; false
                                                              */

#endif
