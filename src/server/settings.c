#include "server/settings.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/strbuf.h"

#define FILE_MOST (1 << 20)

enum setting_type { TYPE_TEXT, TYPE_COUNT, TYPE_REAL, TYPE_FLAG };

static const struct setting {
    struct setting_row row;
    enum setting_type type;
    uint32_t least, most;
    size_t offset;
} all[] = {
#define SETTING(name, type, text, least, most, doc) \
    {{#name, text, doc, TYPE_##type == TYPE_FLAG},  \
     TYPE_##type,                                   \
     least,                                         \
     most,                                          \
     offsetof(struct settings, name)},
#include "server/settings.def"
#undef SETTING
};
#define ALL_COUNT (sizeof all / sizeof all[0])

const struct setting_row *setting_at(uint32_t index)
{
    return index < ALL_COUNT ? &all[index].row : NULL;
}

static const struct setting *find(const char *name)
{
    for (size_t i = 0; i < ALL_COUNT; i++)
        if (strcmp(all[i].row.name, name) == 0)
            return &all[i];
    return NULL;
}

static bool parse_count(const struct setting *setting, const char *text, uint32_t *out,
                        struct error *err)
{
    uint64_t value = 0;
    size_t length = strlen(text);
    bool ok = length > 0 && length <= 10 && strspn(text, "0123456789") == length;
    for (size_t i = 0; ok && i < length; i++)
        value = 10 * value + (uint64_t)(text[i] - '0');
    if (!ok || value < setting->least || value > setting->most)
        return fail(err, ERR_USAGE, "%s is '%.60s', expected a number from %u to %u",
                    setting->row.name, text, setting->least, setting->most);
    *out = (uint32_t)value;
    return true;
}

static bool parse_real(const struct setting *setting, const char *text, double *out,
                       struct error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || text[strspn(text, "0123456789.")] != '\0' || *end != '\0' ||
        value < setting->least || value > setting->most)
        return fail(err, ERR_USAGE, "%s is '%.60s', expected a number from %u to %u",
                    setting->row.name, text, setting->least, setting->most);
    *out = value;
    return true;
}

static bool parse_flag(const struct setting *setting, const char *text, bool *out,
                       struct error *err)
{
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return fail(err, ERR_USAGE, "%s is '%.60s', expected true or false", setting->row.name,
                    text);
    *out = yes;
    return true;
}

static bool set(struct settings *settings, const struct setting *setting, const char *text,
                struct error *err)
{
    void *at = (char *)settings + setting->offset;
    switch (setting->type) {
    case TYPE_COUNT: return parse_count(setting, text, at, err);
    case TYPE_REAL: return parse_real(setting, text, at, err);
    case TYPE_FLAG: return parse_flag(setting, text, at, err);
    case TYPE_TEXT: break;
    }
    *(const char **)at = text;
    return true;
}

void settings_default(struct settings *out)
{
    struct error err;
    for (size_t i = 0; i < ALL_COUNT; i++)
        set(out, &all[i], all[i].row.text, &err);
}

bool settings_set(struct settings *settings, const char *name, const char *text,
                  struct arena *arena, struct error *err)
{
    const struct setting *setting = find(name);
    if (!setting)
        return fail(err, ERR_USAGE, "'%.100s' is no setting; urza serve --print-config shows all",
                    name);
    return set(settings, setting, arena_strdup(arena, text), err);
}

/* Trims white space on both ends, in place. */
static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

static bool read_line(struct settings *settings, char *line, struct arena *arena, struct error *err)
{
    line = trim(line);
    size_t length = strlen(line);
    if (length == 0 || line[0] == '#' || line[0] == ';' ||
        (line[0] == '[' && line[length - 1] == ']'))
        return true;
    char *equals = strchr(line, '=');
    if (!equals)
        return fail(err, ERR_USAGE, "'%.60s' is not of the form name = value", line);
    *equals = '\0';
    return settings_set(settings, trim(line), trim(equals + 1), arena, err);
}

bool settings_read(struct settings *settings, const char *path, struct arena *arena,
                   struct error *err)
{
    char *text;
    size_t size;
    if (!file_read(path, FILE_MOST, &text, &size, err))
        return false;
    bool ok =
        strlen(text) == size || fail(err, ERR_USAGE, "a zero byte: this is no file of settings");
    unsigned number = 1;
    for (char *line = text, *end; ok && line; line = end, number++) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        ok = read_line(settings, line, arena, err) || fail_at(err, "line %u", number);
    }
    free(text);
    return ok || fail_at(err, "'%.100s'", path);
}

void settings_print(const struct settings *settings, struct strbuf *out)
{
    strbuf_puts(out, "[urza]\n");
    for (size_t i = 0; i < ALL_COUNT; i++) {
        const struct setting *setting = &all[i];
        const void *at = (const char *)settings + setting->offset;
        strbuf_printf(out, "\n# %s\n%s = ", setting->row.doc, setting->row.name);
        switch (setting->type) {
        case TYPE_TEXT: strbuf_puts(out, *(const char *const *)at); break;
        case TYPE_COUNT: strbuf_printf(out, "%u", *(const uint32_t *)at); break;
        case TYPE_REAL: strbuf_double(out, *(const double *)at); break;
        case TYPE_FLAG: strbuf_puts(out, *(const bool *)at ? "true" : "false"); break;
        }
        strbuf_puts(out, "\n");
    }
}

/* choices: separated by bars, as they are printed. */
static bool one_of(const char *name, const char *text, const char *choices, struct error *err)
{
    size_t length = strlen(text);
    for (const char *at = choices; length > 0 && (at = strstr(at, text)) != NULL; at += length)
        if ((at == choices || at[-1] == '|') && (at[length] == '|' || at[length] == '\0'))
            return true;
    return fail(err, ERR_USAGE, "%s is '%.60s', expected one of %s", name, text, choices);
}

static bool is_loopback(const char *host)
{
    struct in_addr address;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

bool settings_check(const struct settings *settings, struct error *err)
{
    if (!one_of("log_level", settings->log_level, "debug|info|warning|error", err) ||
        !one_of("strategy", settings->strategy, "emergency|fast|standard|aggressive", err))
        return false;
    if ((settings->tls_certificate[0] == '\0') != (settings->tls_key[0] == '\0'))
        return fail(err, ERR_USAGE, "tls_certificate and tls_key go together");
    if (!is_loopback(settings->host) && settings->tokens[0] == '\0')
        return fail(err, ERR_USAGE,
                    "host is %.60s, which others can reach: give a file of tokens (urza token new)",
                    settings->host);
    return true;
}
