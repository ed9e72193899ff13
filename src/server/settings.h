/* Settings (settings.def): from their defaults, a file, the environment and options, in this order;
 * later values win. Texts live in the given arena. */
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
const struct setting_row *setting_at(uint32_t index); /* NULL after the last */

void settings_default(struct settings *out);
/* ERR_USAGE for an unknown name or an invalid value; text is copied. */
bool settings_set(struct settings *settings, const char *name, const char *text,
                  struct arena *arena, struct error *err);
/* Reads an INI file: lines `name = value`; # and ; begin comments; section headers are allowed and
 * ignored. ERR_USAGE names the line. */
bool settings_read(struct settings *settings, const char *path, struct arena *arena,
                   struct error *err);
/* Prints settings as such a file. */
void settings_print(const struct settings *settings, struct strbuf *out);
/* Checks that settings are compatible: ERR_USAGE. */
bool settings_check(const struct settings *settings, struct error *err);

#endif
