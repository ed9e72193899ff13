/* Strict JSON over jansson: bounded, duplicate keys refused, every error names its place; and the
 * canonical form of RFC 8785, whose bytes are hashed. Values are jansson's (reference counted by
 * the caller). */
#ifndef URZA_BASE_JSON_H
#define URZA_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct error;
struct strbuf;

/* Parses text, which must be one value with nothing but white space after it. Bounds:
 * LIMIT_JSON_BYTES (ERR_LIMIT), LIMIT_JSON_DEPTH (ERR_LIMIT). Fails with ERR_JSON and "line L,
 * column C" as place. */
json_t *json_read(const char *text, size_t size, struct error *err);
/* The same; the arena owns the value and releases it with its memory. */
json_t *json_read_in(struct arena *arena, const char *text, size_t size, struct error *err);
/* For a process that may end (base/child.h): from here on it ends by child_no_memory if jansson
 * runs out of memory. Otherwise parsed values may lack characters, since jansson's lexer (2.14)
 * goes on without those it could not store, and built values may lack fields. */
void json_end_without_memory(void);
/* An upper bound on the number of values in a text, found without parsing: a value takes some
 * hundred bytes once parsed, but only two in the text. */
size_t json_count(const char *text, size_t size);

/* Appends the canonical form (RFC 8785): keys sorted by UTF-16 code units, no white space,
 * ECMAScript numbers. Integers beyond 2^53 are written exactly (an extension; the reader keeps them
 * exact too). */
void json_write_canonical(const json_t *value, struct strbuf *out);
/* Appends one string in canonical form, with quotes and escapes; text is UTF-8. */
void json_write_string(const char *text, size_t size, struct strbuf *out);

/* Read a field of an object. ERR_JSON, naming the field, when it has another type or is missing;
 * the _opt getters leave *out unchanged when it is missing. Strings are borrowed. */
bool json_get_string(const json_t *object, const char *key, const char **out, struct error *err);
bool json_get_int(const json_t *object, const char *key, int64_t *out, struct error *err);
bool json_get_array(const json_t *object, const char *key, json_t **out, struct error *err);
bool json_get_object(const json_t *object, const char *key, json_t **out, struct error *err);
bool json_opt_string(const json_t *object, const char *key, const char **out, struct error *err);
bool json_opt_int(const json_t *object, const char *key, int64_t *out, struct error *err);
bool json_opt_double(const json_t *object, const char *key, double *out, struct error *err);
bool json_opt_bool(const json_t *object, const char *key, bool *out, struct error *err);

/* Fails with ERR_JSON, naming the first key of object that is not in the NULL-terminated list. */
bool json_only_keys(const json_t *object, const char *const *allowed, struct error *err);

#endif
