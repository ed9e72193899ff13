#include "server/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/entropy.h"
#include "base/file.h"
#include "server/server_priv.h"

#define FILE_MOST (1 << 20)
#define NAME_MOST 64
#define TOKEN_BYTES 32

struct token {
    uint8_t digest[SHA256_BYTES];
    unsigned scopes;
    const char *name;
};

struct tokens {
    VEC(struct token) items;
};

static const char *const scope_names[] = {[SCOPE_ANYBODY] = "",
                                          [SCOPE_READ] = "read",
                                          [SCOPE_COMPILE] = "compile",
                                          [SCOPE_ADMIN] = "admin",
                                          [SCOPE_WORKER] = "worker"};

const char *scope_name(int scope)
{
    return scope_names[scope];
}

unsigned tokens_scopes(const char *text)
{
    unsigned scopes = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        int found = 0;
        for (int i = SCOPE_READ; i < SCOPE_COUNT; i++)
            if (strlen(scope_names[i]) == length && memcmp(scope_names[i], text, length) == 0)
                found = i;
        if (!found)
            return 0;
        scopes |= 1u << found;
        text += length + (text[length] == ',');
    }
    return scopes;
}

static bool name_ok(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MOST &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") ==
               length;
}

static bool read_line(struct tokens *tokens, char *line, struct arena *arena, struct error *err)
{
    struct token token;
    char *end, *digest = strtok_r(line, " \t\r", &end);
    if (!digest || digest[0] == '#')
        return true;
    const char *scopes = strtok_r(NULL, " \t\r", &end), *name = strtok_r(NULL, " \t\r", &end);
    if (strlen(digest) != 2 * SHA256_BYTES || !hex_decode(digest, token.digest, SHA256_BYTES))
        return fail(err, ERR_USAGE, "a line begins with the SHA-256 of a token, 64 hex digits");
    if (!scopes || (token.scopes = tokens_scopes(scopes)) == 0)
        return fail(err, ERR_USAGE, "scopes are read, compile, admin, worker, between commas");
    if (!name || !name_ok(name) || strtok_r(NULL, " \t\r", &end))
        return fail(err, ERR_USAGE, "a name of at most %d letters, digits and ._-@ comes last",
                    NAME_MOST);
    token.name = arena_strdup(arena, name);
    VEC_PUSH(arena, &tokens->items, token);
    return true;
}

bool tokens_read(const char *path, struct arena *arena, struct tokens **out, struct error *err)
{
    struct tokens *tokens = ARENA_NEW(arena, struct tokens);
    char *text;
    size_t size;
    if (!file_read(path, FILE_MOST, &text, &size, err))
        return false;
    struct stat info;
    bool ok = stat(path, &info) != 0 || file_is_ours(&info, path, err);
    unsigned number = 1;
    for (char *line = text, *end; ok && line; line = end, number++) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        ok = read_line(tokens, line, arena, err) || fail_at(err, "'%.100s', line %u", path, number);
    }
    free(text);
    if (ok)
        *out = tokens;
    return ok;
}

bool tokens_find(const struct tokens *tokens, const char *token, const char **out_name,
                 unsigned *out_scopes)
{
    uint8_t digest[SHA256_BYTES];
    sha256(token, strlen(token), digest);
    for (uint32_t i = 0; i < tokens->items.count; i++) {
        if (memcmp(tokens->items.items[i].digest, digest, sizeof digest) != 0)
            continue;
        *out_name = tokens->items.items[i].name;
        *out_scopes = tokens->items.items[i].scopes;
        return true;
    }
    return false;
}

/* base64url without padding: 43 characters for 32 bytes. */
static void spell(const uint8_t bytes[TOKEN_BYTES], char out[44])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t held = 0, bits = 0, count = 0;
    for (uint32_t i = 0; i < TOKEN_BYTES; i++) {
        held = held << 8 | bytes[i];
        for (bits += 8; bits >= 6; bits -= 6)
            out[count++] = digits[held >> (bits - 6) & 63];
    }
    out[count++] = digits[held << (6 - bits) & 63];
    out[count] = '\0';
}

bool server_new_token(const char *name, const char *scopes, struct arena *arena,
                      const char **out_token, const char **out_line, struct error *err)
{
    uint8_t bytes[TOKEN_BYTES];
    char token[44], digest[SHA256_HEX_BYTES];
    struct strbuf line;
    if (!name_ok(name))
        return fail(err, ERR_USAGE, "'%.80s' is no name: at most %d letters, digits and ._-@", name,
                    NAME_MOST);
    if (tokens_scopes(scopes) == 0)
        return fail(err, ERR_USAGE,
                    "'%.80s': scopes are read, compile, admin, worker, between commas", scopes);
    if (!entropy_fill(bytes, sizeof bytes, err))
        return false;
    spell(bytes, token);
    sha256_hex(token, strlen(token), digest);
    strbuf_init(&line, arena);
    strbuf_printf(&line, "%s %s %s", digest, scopes, name);
    *out_token = arena_strdup(arena, token);
    *out_line = line.data;
    return true;
}
