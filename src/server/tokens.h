/* Tokens and what they allow; identified by their SHA-256. Read at start; afterwards any number of
 * threads. */
#ifndef URZA_SERVER_TOKENS_H
#define URZA_SERVER_TOKENS_H

#include <stdbool.h>

struct arena;
struct error;
struct tokens;

/* Reads a file of lines "SHA256 SCOPES NAME", with scopes separated by commas; # begins a comment.
 * ERR_SIGNATURE if other users may write to it; ERR_USAGE names the line. Lives in arena. */
bool tokens_read(const char *path, struct arena *arena, struct tokens **out, struct error *err);
/* Finds a token's name and scopes (one bit each, enum scope); false: unknown. */
bool tokens_find(const struct tokens *tokens, const char *token, const char **out_name,
                 unsigned *out_scopes);
const char *scope_name(int scope); /* name of an enum scope: "read"; "" for ANYBODY */
/* Parses "read,compile" to bits; 0 if a scope is unknown. */
unsigned tokens_scopes(const char *text);

#endif
