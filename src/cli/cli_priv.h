/* Shared by the commands of the program `urza`.
 *
 * A command is a row of commands.def and a function in a file of its own. It parses its arguments
 * with args_parse, uses the given arena, prints its result to standard output, and on failure
 * returns false with a filled error; only main prints errors and ends the process. One thread.
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

struct board;
struct error;
struct import_options;
struct import_tensor;
struct strbuf;

struct command;

/* The progress line on the terminal, and whether it is shown. */
struct progress {
    const char *what;    /* shown while the board says nothing */
    struct board *board; /* what children say; NULL where no progress is shown */
    bool running, stop;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
};

struct cli {
    const struct command *command;
    struct arena *arena; /* lives as long as the process */
    const char *home;    /* folder with keys; NULL when the environment names none */
    const char *cache;   /* folder of the compilation cache; NULL as above */
    const char *(*variable)(const char *name); /* reads an environment variable; NULL: not set */
    bool json;                                 /* results and errors as JSON */
    struct signing_key key; /* filled only while something is signed; all zero otherwise */
    bool progress;          /* progress may be shown: standard error is a terminal, and neither
                               --json nor --quiet is given */
    bool quiet;             /* no warnings either */
    struct progress shown; /* kept here because its thread continues after a jump for lack of memory
                            */
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
    OPTION_LIST,  /* struct text_list: may be given repeatedly */
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

/* The arguments that are not options. */
struct words {
    uint32_t least, most; /* allowed number, set by the caller */
    char **items;         /* terminated by NULL */
};

/* Parses argv[1 …] by rows (--json and --help are always there). ERR_USAGE. --help prints the help
 * and returns false with err unchanged. */
bool args_parse(struct cli *cli, const struct option_row *rows, int argc, char **argv,
                struct words *words, struct error *err);
bool args_number(const char *text, uint64_t maximum, uint64_t *out); /* decimal digits only */

/* What a command line says of a model that is read, by the same options wherever one is. */
struct given {
    struct text_list dims, known;
};
#define GIVEN_ROWS(given)                                                                       \
    {"dim",          0,                                                                         \
     OPTION_LIST,    "NAME=SIZE",                                                               \
     &(given)->dims, "a named dim's size, or its range LEAST..MOST, or FACTOR* for multiples"}, \
        {"known",                                                                               \
         0,                                                                                     \
         OPTION_LIST,                                                                           \
         "NAME=VALUE",                                                                          \
         &(given)->known,                                                                       \
         "an input that is a constant from here on: numbers with commas, or a .npy file"}
/* The texts, a line each, as import_dims_parse reads dims; NULL: none is given. */
const char *given_lines(struct cli *cli, const struct text_list *list);
/* Reads the known inputs, whose files end in .npy. In the arena. ERR_USAGE, ERR_NOT_FOUND, ERR_IO,
 * ERR_PARSE, ERR_LIMIT. */
bool given_known(struct cli *cli, const struct given *given, const struct import_tensor **out,
                 uint32_t *out_count, struct error *err);
/* Both, into options; the seed and the folder of the source stay as they are. */
bool given_read(struct cli *cli, const struct given *given, struct import_options *out,
                struct error *err);

/* Output. Untrusted text is printed only through these functions, which print unprintable
 * characters as their numbers (shown.c). */

/* Keeps line ends and tabs. */
void report_lines(FILE *file, const char *fmt, ...) URZA_PRINTF(2, 3);
void report_block(FILE *file, const char *text, size_t size); /* keeps line ends and tabs */
void report_part(FILE *file, const char *text); /* part of one line: a line end is unprintable, too
                                                 */
/* Such a part as a string, for report_lines. */
const char *report_word(struct cli *cli, const char *text);

/* Prints one line `urza: class: place: message` on standard error, or an object {error, message,
 * place}.
 */
void report_error(bool json, const struct error *err);
/* Prints value as one line on standard output and releases it. */
void report_json(json_t *value);
json_t *report_number(double value);   /* null for infinities and NaN */
json_t *report_text(const char *text); /* a string; bytes that are not UTF-8 become '?' */

/* "urza: warning: …" on standard error, unless --quiet is given; may be called in a child. */
void report_warning(const struct cli *cli, const char *fmt, ...) URZA_PRINTF(2, 3);

/* Shows a line on the terminal from the first second on, between begin and end, which erases it
 * (calling end again, or without begin, does nothing): what the board says that children write to,
 * cli->shown.board, else `what`, and for how long. Uses a thread that takes no locks but its own.
 */
void progress_begin(struct cli *cli, const char *what);
void progress_end(struct cli *cli);

/* Writes a dump with level DUMP_ALL of compile.h as files in a folder, with a page; the folder is
 * made. ERR_USAGE if it contains other files; ERR_IO. */
bool dump_all_write(struct cli *cli, const char *path, const char *dump, struct error *err);

/* Sources: models and blueprints, before they are compiled. */
struct source_request {
    const char *file;
    const struct given *given;
    bool explain; /* what became of the nodes, too */
};
/* Reads a source in a child and prints what it is made of, whether it can be compiled or not.
 * Errors are those of a file that cannot be read at all. */
bool source_show(struct cli *cli, const struct source_request *request, struct error *err);
/* The name of the input that an output updates; NULL: none. */
const char *source_updated(const struct graph *graph, uint32_t output);

/* Packages. */

const char *bundle_keys(struct cli *cli); /* the folder with keys; NULL: there is none */
/* The folder of a blueprint's file, to which its relative paths refer; NULL for "-". */
const char *bundle_folder(struct cli *cli, const char *path);
/* The size limit of a file, by its first bytes: for a package, a model, or JSON. */
size_t bundle_limit(const void *head, size_t size);
/* Where a result of reading the file goes: *path if it is given (-o), else the file's name with
 * another ending, in the current folder, put into *path. What stands there is replaced, but never
 * the file itself, and without -o nothing but a package: ERR_USAGE. */
bool bundle_output(struct cli *cli, const char *file, const char *ending, const char **path,
                   struct error *err);
/* Whether a file is a package, by its first bytes. ERR_NOT_FOUND, ERR_IO. */
bool bundle_is_package(const char *path, bool *out, struct error *err);
/* Reads such a file, 64-aligned, into the arena. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT, which is checked
 * before reading. */
bool bundle_read(struct cli *cli, const char *path, const void **out_bytes, size_t *out_size,
                 struct error *err);
/* As bundle_read; "-" is standard input. */
bool bundle_read_source(struct cli *cli, const char *path, const char **out_text, size_t *out_size,
                        struct error *err);
/* The user's trusted keys, and those given in hex (--key). ERR_USAGE for text that is not a key. */
bool bundle_trusted(struct cli *cli, const struct text_list *keys, struct trusted_keys *out,
                    struct error *err);

/* Options for opening a package to run it. */
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
    struct graph graph; /* as stored in the package */
};
/* Reads the package, and fills the options for loading it in the runtime. */
bool bundle_prepare(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                    urza_load_options *out_load, struct error *err);
/* Loads the package with the public runtime. Call bundle_release only after success. */
bool bundle_open(struct cli *cli, const struct bundle_options *options, struct bundle *out,
                 struct error *err);
void bundle_release(struct bundle *bundle);
/* Converts an error of the runtime; returns false. */
bool bundle_fail(const urza_error *from, struct error *err);

#endif
