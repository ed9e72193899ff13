/* Settings (settings.def): from their defaults, a file, the environment and flags, in this order;
 * the later one wins. Texts live in the arena that was given. */
#ifndef URZA_SERVER_SETTINGS_H
#define URZA_SERVER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct arena;
struct strbuf;

#define SETTING_TEXT const char *
#define SETTING_COUNT uint32_t
#define SETTING_REAL double
#define SETTING_FLAG bool
struct settings {
#define SETTING(name, type, text, least, most, doc) SETTING_##type name;
#include "server/settings.def"
#undef SETTING
};

struct setting_row {
    const char *name; /* "queue_limit" */
    const char *text; /* the default */
    const char *doc;
    bool flag;
};
const struct setting_row *setting_at(uint32_t index); /* NULL behind the last */

void settings_default(struct settings *out);
/* ERR_USAGE for a name or value that is none; text is copied. */
bool settings_set(struct settings *settings, const char *name, const char *text,
                  struct arena *arena, struct error *err);
/* An INI file: lines `name = value`; # and ; begin comments; sections are allowed and mean nothing.
 * ERR_USAGE names the line. */
bool settings_read(struct settings *settings, const char *path, struct arena *arena,
                   struct error *err);
/* As such a file. */
void settings_print(const struct settings *settings, struct strbuf *out);
/* What does not go together: ERR_USAGE. */
bool settings_check(const struct settings *settings, struct error *err);

#endif
