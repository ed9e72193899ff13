/* Who may do what: tokens, known by their SHA-256. Read once, at start; any number of threads. */
#ifndef URZA_SERVER_TOKENS_H
#define URZA_SERVER_TOKENS_H

#include <stdbool.h>

struct arena;
struct error;
struct tokens;

/* A file of lines "SHA256 SCOPES NAME"; scopes are separated by commas, # begins a comment. Others
 * may not write to it. ERR_USAGE names the line; ERR_SIGNATURE. Lives in arena. */
bool tokens_read(const char *path, struct arena *arena, struct tokens **out, struct error *err);
/* The name and scopes (a bit each, enum scope) of a token; false: unknown. */
bool tokens_find(const struct tokens *tokens, const char *token, const char **out_name,
                 unsigned *out_scopes);
const char *scope_name(int scope); /* of enum scope: "read"; "" for anybody's */
/* "read,compile" → bits; 0 where one is none. */
unsigned tokens_scopes(const char *text);

#endif
