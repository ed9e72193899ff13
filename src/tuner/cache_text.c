/* Entries as text. Every line has its own checksum, so that damage makes only the damaged lines
 * invalid; the first line has the number of entries, so that a truncated file is recognised. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

#define FORMAT_STEM "urza.tuning/"

static void print_line(const char *text, size_t size, struct strbuf *out)
{
    char sum[SHA256_HEX_BYTES];
    sha256_hex(text, size, sum);
    strbuf_printf(out, "%s ", sum);
    strbuf_add(out, text, size);
    strbuf_puts(out, "\n");
}

/* The first line has a checksum like the others; behind it are the format and the number of
 * entries. */
void cache_print(const struct table *table, struct strbuf *out)
{
    struct strbuf line;
    strbuf_init(&line, table->arena);
    strbuf_printf(&line, CACHE_FORMAT " entries %u", table->entries.count);
    print_line(line.data, line.size_bytes, out);
    for (uint32_t i = 0; i < table->entries.count; i++) {
        line.size_bytes = 0;
        entry_print(table->entries.items[i], &line);
        print_line(line.data, line.size_bytes, out);
    }
}

static bool read_timings(const json_t *timings, struct error *err)
{
    static const char *const keys[] = {"config", "ns", "samples", "state", NULL};
    struct config config;
    size_t i;
    json_t *item, *object;
    int64_t samples;
    double ns;
    const char *state;
    json_array_foreach(timings, i, item)
    {
        if (!json_is_object(item))
            return fail(err, ERR_JSON, "a timing is an object");
        if (!json_only_keys(item, keys, err) || !json_get_object(item, "config", &object, err) ||
            !config_read(object, &config, err) || !json_opt_double(item, "ns", &ns, err) ||
            !json_get_int(item, "samples", &samples, err) ||
            !json_get_string(item, "state", &state, err))
            return false;
    }
    return true;
}

static bool read_measured(const json_t *measured, struct arena *arena, struct entry *out,
                          struct error *err)
{
    static const char *const keys[] = {"at", "heuristic_ns", "ns", "timings", NULL};
    json_t *timings;
    struct strbuf text;
    out->ns = out->heuristic_ns = -1;
    if (!json_only_keys(measured, keys, err) || !json_get_int(measured, "at", &out->at, err) ||
        !json_opt_double(measured, "heuristic_ns", &out->heuristic_ns, err) ||
        !json_opt_double(measured, "ns", &out->ns, err) ||
        !json_get_array(measured, "timings", &timings, err) || !read_timings(timings, err))
        return false;
    if (out->at < 0 || !(out->ns >= 0) || !(out->heuristic_ns >= 0))
        return fail(err, ERR_JSON, "expected times from 0");
    strbuf_init(&text, arena);
    json_write_canonical(timings, &text);
    out->timings = text.data;
    out->measured = true;
    return true;
}

static bool read_entry(const json_t *object, struct arena *arena, struct entry *out,
                       struct error *err)
{
    static const char *const keys[] = {"config", "device", "invocation", "measured", NULL};
    uint8_t bytes[SHA256_BYTES];
    const char *device;
    json_t *record;
    struct strbuf text;
    struct invocation invocation;
    if (!json_only_keys(object, keys, err) || !json_get_string(object, "device", &device, err) ||
        !json_get_object(object, "invocation", &record, err))
        return false;
    if (strlen(device) != SHA256_HEX_BYTES - 1 || !hex_decode(device, bytes, sizeof bytes))
        return fail(err, ERR_JSON, "field 'device' is no fingerprint");
    memcpy(out->device, device, sizeof out->device);
    strbuf_init(&text, arena);
    json_write_canonical(record, &text);
    if (!invocation_read(text.data, text.size_bytes, arena, &invocation, NULL, err))
        return false;
    out->invocation = invocation.json;
    memcpy(out->key, invocation.key, sizeof out->key);
    const json_t *config = json_object_get(object, "config"),
                 *measured = json_object_get(object, "measured");
    if (!config && !measured)
        return true;
    if (!json_is_object(config) || !json_is_object(measured))
        return fail(err, ERR_JSON, "expected both 'config' and 'measured', or neither");
    return config_read(config, &out->config, err) && read_measured(measured, arena, out, err);
}

/* Records that a line is invalid. */
static void damage(struct cache_damage *out, uint32_t line, const char *why)
{
    if (out->lines++ == 0)
        snprintf(out->message, sizeof out->message, "line %u: %.64s", line, why);
}

/* The text behind the checksum of a line, or NULL if the checksum is wrong. */
static const char *checked(const char *line, size_t size, size_t *out_size)
{
    const size_t digits = SHA256_HEX_BYTES - 1;
    char sum[SHA256_HEX_BYTES];
    if (size <= digits || line[digits] != ' ')
        return NULL;
    sha256_hex(line + digits + 1, size - digits - 1, sum);
    if (memcmp(sum, line, digits) != 0)
        return NULL;
    *out_size = size - digits - 1;
    return line + digits + 1;
}

/* Reads the first line; false for a newer format. *out_count is UINT32_MAX if it cannot be read. */
static bool read_first(const char *text, size_t size, uint32_t *out_count, struct cache_damage *out,
                       struct error *err)
{
    static const char start[] = CACHE_FORMAT " entries ";
    char copy[64] = "", *end;
    *out_count = UINT32_MAX;
    if (text && size < sizeof copy)
        memcpy(copy, text, size);
    if (strncmp(copy, start, sizeof start - 1) == 0) {
        unsigned long count = strtoul(copy + sizeof start - 1, &end, 10);
        if (*end == '\0' && end != copy + sizeof start - 1 && count < UINT32_MAX) {
            *out_count = (uint32_t)count;
            return true;
        }
    } else if (text && size > sizeof FORMAT_STEM &&
               memcmp(text, FORMAT_STEM, sizeof FORMAT_STEM - 1) == 0) {
        return fail(err, ERR_UNSUPPORTED, "it has a newer format, %.16s", text);
    }
    damage(out, 1, "not the first line of a cache file");
    return true;
}

struct line {
    const char *text; /* behind the checksum */
    size_t size;
    uint32_t number; /* from 1 */
};

static void read_line(const struct line *line, const char *device, struct arena *arena,
                      struct table *into, struct cache_damage *out)
{
    struct error why = {0};
    struct entry entry = {.measured = false};
    json_t *object = json_read_in(arena, line->text, line->size, &why);
    if (object && !json_is_object(object))
        fail(&why, ERR_JSON, "expected an object");
    else if (object && read_entry(object, arena, &entry, &why) && device &&
             strcmp(entry.device, device) != 0)
        fail(&why, ERR_JSON, "it belongs to another device");
    if (why.code == ERR_NOMEM) /* lack of memory is not damage */
        arena_no_memory(arena);
    if (why.code == ERR_NONE)
        table_merge(into, &entry);
    else
        damage(out, line->number, why.message);
    arena_release(arena);
}

bool cache_parse(const char *text, size_t size, const char *device, struct table *into,
                 struct cache_damage *out, struct error *err)
{
    uint32_t announced = UINT32_MAX;
    struct line line = {.number = 0};
    struct arena *scratch = arena_inside(into->arena); /* for reading one line */
    *out = (struct cache_damage){0};
    for (const char *at = text, *stop = text + size; at < stop;) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        line.size = 0;
        line.text = checked(at, (size_t)((end ? end : stop) - at), &line.size);
        line.number++;
        if (line.number == 1 && !read_first(line.text, line.size, &announced, out, err))
            return false;
        if (line.number > 1 && !line.text)
            damage(out, line.number, "its checksum does not fit");
        else if (line.number > 1)
            read_line(&line, device, scratch, into, out);
        at = end ? end + 1 : stop;
    }
    if (line.number == 0 || (announced != UINT32_MAX && line.number - 1 != announced))
        damage(out, line.number,
               line.number == 0 ? "the file is empty" : "lines are missing, or too many");
    return true;
}
