/* Explains why no kernel is found for a key. */
#include <jansson.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "registry/registry_priv.h"

#define KEYS_LOOKED_AT 50 /* the newest with the same content */
#define NAMED_MOST 3      /* differences that are reported */

/* Memory is not freed piecewise, except for what jansson allocates. */
struct wondering {
    const struct key_record *wanted;
    struct arena *arena;
    json_t *hints;
    char *best; /* the text about the nearest key */
    uint32_t best_count;
};

static json_t *hints_of(const struct key_record *key)
{
    struct error ignored;
    json_t *hints = key->hints[0] ? json_read(key->hints, strlen(key->hints), &ignored) : NULL;
    return hints ? hints : json_object();
}

static void say_hint(struct strbuf *text, const char *name, const json_t *value, const char *kernel)
{
    strbuf_printf(text, "hint '%s' differs from %s: ", name, kernel);
    if (json_is_string(value))
        strbuf_puts(text, json_string_value(value));
    else if (value)
        json_write_canonical(value, text);
    else
        strbuf_puts(text, "it has none");
}

static void compare(struct wondering *w, const struct key_record *key, json_t *hints)
{
    struct strbuf text;
    uint32_t count = 0;
    const char *name;
    json_t *value;
    strbuf_init(&text, w->arena);
    json_object_foreach(w->hints, name, value)
    {
        const json_t *other = json_object_get(hints, name);
        if (!(other && json_equal(value, other)) && count++ < NAMED_MOST) {
            strbuf_puts(&text, count > 1 ? "; " : "");
            say_hint(&text, name, other, key->kernel);
        }
    }
    json_object_foreach(hints, name, value)
    {
        if (!json_object_get(w->hints, name) && count++ < NAMED_MOST) {
            strbuf_puts(&text, count > 1 ? "; " : "");
            say_hint(&text, name, value, key->kernel);
        }
    }
    if (strcmp(key->compiler, w->wanted->compiler) != 0 && count++ < NAMED_MOST)
        strbuf_printf(&text, "%sthe compiler was %s", count > 1 ? "; " : "", key->compiler);
    if (count == 0)
        strbuf_printf(&text, "it has another key than %s", key->kernel);
    if (!w->best || count < w->best_count) {
        w->best = text.data;
        w->best_count = count;
    }
}

/* Why the kernel is not returned; NULL: it is. */
static const char *silence(const struct kernel_record *kernel, struct arena *arena)
{
    struct strbuf text;
    if (!kernel)
        return "no kernel of this blueprint";
    if (strcmp(kernel->status, "RETIRED") == 0) {
        strbuf_init(&text, arena);
        strbuf_printf(&text, "retired%s%s", kernel->reason[0] ? ": " : "", kernel->reason);
        return text.data;
    }
    if (kernel->object[0] == '\0')
        return "evicted";
    return kernel->lost_ms != 0 ? "lost" : NULL;
}

bool registry_why(struct registry *registry, const struct key_record *wanted, struct arena *arena,
                  const char **out, struct error *err)
{
    const struct filter filter = {"content", FILTER_IS, wanted->content, 0};
    const struct query query = {.kind = RECORD_key,
                                .filters = &filter,
                                .filter_count = 1,
                                .newest_first = true,
                                .limit = KEYS_LOOKED_AT};
    struct wondering w = {.wanted = wanted, .arena = arena};
    struct records keys;
    const char *silent = NULL;
    void *kernel = NULL, *own = NULL;
    if (!catalogue_get(registry->catalogue, RECORD_key, wanted->head.id, arena, &own, err) ||
        (own && !catalogue_get(registry->catalogue, RECORD_kernel,
                               ((const struct key_record *)own)->kernel, arena, &kernel, err)) ||
        !catalogue_list(registry->catalogue, &query, arena, &keys, err))
        return false;
    if (kernel && (silent = silence(kernel, arena)) != NULL) {
        *out = silent;
        return true;
    }
    bool ok = true;
    w.hints = hints_of(wanted);
    for (uint32_t i = 0; ok && i < keys.count; i++) {
        const struct key_record *key = keys.items[i];
        kernel = NULL;
        ok = catalogue_get(registry->catalogue, RECORD_kernel, key->kernel, arena, &kernel, err);
        const char *why = ok ? silence(kernel, arena) : NULL;
        json_t *hints = ok && !why ? hints_of(key) : NULL;
        silent = silent ? silent : kernel ? why : NULL;
        if (hints)
            compare(&w, key, hints);
        json_decref(hints);
    }
    json_decref(w.hints);
    if (ok)
        *out = w.best ? w.best : silent ? silent : "no kernel of this blueprint";
    return ok;
}
