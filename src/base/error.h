/* Failures, as values.
 *
 * A function that can fail returns bool or a pointer and takes `struct error *err` last. On failure
 * it fills err exactly once and returns false or NULL; on success err is untouched. err is never
 * NULL. Fixed size, no allocation, may be copied. The classes are the rows of errors.def. */
#ifndef URZA_BASE_ERROR_H
#define URZA_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/compiler.h"

enum error_code {
#define ERROR(code, name, http, exit, retryable, text) code,
#include "base/errors.def"
#undef ERROR
    ERR_COUNT
};

struct error {
    enum error_code code;
    char place[160];   /* where in the user's input: "node 'fc1', attribute 'bias'"; may be empty */
    char message[512]; /* what was found and what was expected; no trailing newline */
};

/* Fills *err with code and the formatted message, empties its place, and returns false. */
bool fail(struct error *err, enum error_code code, const char *fmt, ...) URZA_PRINTF(3, 4);
bool fail_v(struct error *err, enum error_code code, const char *fmt, va_list args);

/* Names the place of a failure while it is passed up; outer places are put before inner ones ("node
 * 'a', attribute 'dim'"). Returns false. */
bool fail_at(struct error *err, const char *fmt, ...) URZA_PRINTF(2, 3);

const char *error_name(enum error_code code); /* class name, "ShapeError" */
const char *error_text(enum error_code code); /* what the class means */
int error_http(enum error_code code);         /* HTTP status */
int error_exit(enum error_code code);         /* exit status of a command */
enum error_code error_of_exit(int status);    /* ERR_NONE: no class has this status */
bool error_retryable(enum error_code code);

#endif
