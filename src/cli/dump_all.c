/* A dump of all levels as files, and a page that shows a kernel's levels side by side.
 *
 *   DIR/graph.txt
 *   DIR/TARGET.LEVEL.txt    optimised, groups, loops, schedule, plan; TARGET.ll, TARGET.s
 *   DIR/index.html          self-contained: no scripts, no other files
 *
 * The texts contain untrusted names and come from a child: they are escaped in the page, and only
 * known levels and targets become file names. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "compiler/compile.h"
#include "compiler/target/target.h"

#define FILES_MOST (PACKAGE_TARGETS * 7 + 2)

static const struct level {
    const char *name, *suffix;
    const char *comment; /* prefix of lines that name a kernel; NULL: the text itself names it */
} levels[] = {
    {"graph", ".txt", NULL},
    {"optimised", ".optimised.txt", NULL},
    {"groups", ".groups.txt", NULL},
    {"loops", ".loops.txt", NULL},
    {"schedule", ".schedule.txt", ""},
    {"llvm", ".ll", "; "},
    {"asm", ".s", "# "},
    {"plan", ".plan.txt", NULL},
};
#define LEVELS (sizeof levels / sizeof levels[0])
/* The columns that are shown for a kernel. */
static const char *const columns[] = {"groups", "loops", "schedule", "asm"};
#define COLUMNS (sizeof columns / sizeof columns[0])

struct file {
    char name[64];
    struct strbuf text;
};
struct folder {
    struct cli *cli;
    const char *path;
    VEC(struct dump_section) sections;
    struct file files[FILES_MOST];
    uint32_t count;
};

static const struct level *find_level(const char *name)
{
    for (size_t i = 0; i < LEVELS; i++)
        if (strcmp(levels[i].name, name) == 0)
            return &levels[i];
    return NULL;
}

static struct strbuf *file_of(struct folder *f, const char *name)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (strcmp(f->files[i].name, name) == 0)
            return &f->files[i].text;
    if (f->count == FILES_MOST)
        return NULL;
    struct file *file = &f->files[f->count++];
    snprintf(file->name, sizeof file->name, "%s", name);
    strbuf_init(&file->text, f->cli->arena);
    return &file->text;
}

static bool is_known(const struct dump_section *s)
{
    return find_level(s->level) &&
           (strcmp(s->level, "graph") == 0 ? !s->target[0] : target_find(s->target) != NULL);
}

static bool add_section(struct folder *f, const struct dump_section *s)
{
    char name[64];
    const struct level *level = find_level(s->level);
    if (!is_known(s))
        return false;
    snprintf(name, sizeof name, "%s%s", s->target[0] ? s->target : "graph", level->suffix);
    struct strbuf *text = file_of(f, name);
    if (!text)
        return false;
    if (level->comment && s->kernel != DUMP_NO_KERNEL)
        strbuf_printf(text, "%skernel %u: %s\n", level->comment, s->kernel, s->label);
    strbuf_add(text, s->text, s->size);
    VEC_PUSH(f->cli->arena, &f->sections, *s);
    return true;
}

static bool add_files(struct folder *f, const char *dump, struct error *err)
{
    struct dump_section s;
    while (dump_next(&dump, &s))
        if (!add_section(f, &s))
            return fail(err, ERR_COMPILER_DIED, "the compiler's dump is damaged");
    return f->count > 0 || fail(err, ERR_UNSUPPORTED, "there is nothing to dump");
}

/* Escapes text for use between tags and in attributes. */
static void escape(struct strbuf *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *entity = c == '<'    ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '&'  ? "&amp;"
                             : c == '"'  ? "&quot;"
                             : c == '\'' ? "&#39;"
                                         : NULL;
        if (entity)
            strbuf_puts(out, entity);
        else if (c < 0x20 && c != '\n' && c != '\t')
            strbuf_puts(out, "?");
        else
            strbuf_add(out, &text[i], 1);
    }
}

static void put_text(struct strbuf *page, const char *title, const char *text, size_t size)
{
    strbuf_puts(page, "<div><h4>");
    escape(page, title, strlen(title));
    strbuf_puts(page, "</h4><pre>");
    escape(page, text, size);
    strbuf_puts(page, "</pre></div>\n");
}

static const struct dump_section *find_section(const struct folder *f, const char *target,
                                               const char *level, uint32_t kernel)
{
    for (uint32_t i = 0; i < f->sections.count; i++) {
        const struct dump_section *s = &f->sections.items[i];
        if (s->kernel == kernel && strcmp(s->level, level) == 0 && strcmp(s->target, target) == 0)
            return s;
    }
    return NULL;
}

/* Selects the line of a kernel in the text of groups, which has one line per kernel, in order. */
static void line_of(struct dump_section *groups, uint32_t kernel)
{
    const char *at = groups->text, *end = at + groups->size;
    for (; kernel > 0 && at < end; kernel--) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        at = next ? next + 1 : end;
    }
    const char *stop = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    groups->text = at;
    groups->size = (size_t)((stop ? stop : end) - at);
}

static void put_kernel(struct strbuf *page, const struct folder *f, const char *target,
                       const struct dump_section *kernel)
{
    strbuf_printf(page, "<details><summary>kernel %u: ", kernel->kernel);
    escape(page, kernel->label, strlen(kernel->label));
    strbuf_puts(page, "</summary>\n<div class=\"row\">\n");
    for (size_t i = 0; i < COLUMNS; i++) {
        bool group = strcmp(columns[i], "groups") == 0;
        const struct dump_section *found =
            find_section(f, target, columns[i], group ? DUMP_NO_KERNEL : kernel->kernel);
        struct dump_section part;
        if (!found)
            continue;
        part = *found;
        if (group)
            line_of(&part, kernel->kernel);
        put_text(page, group ? "group" : columns[i], part.text, part.size);
    }
    strbuf_puts(page, "</div></details>\n");
}

static void put_target(struct strbuf *page, const struct folder *f, const char *target)
{
    static const char *const whole[] = {"optimised", "groups", "plan"};
    strbuf_printf(page, "<h2>%s</h2>\n<div class=\"row\">\n", target);
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        const struct dump_section *s = find_section(f, target, whole[i], DUMP_NO_KERNEL);
        if (s)
            put_text(page, whole[i], s->text, s->size);
    }
    strbuf_puts(page, "</div>\n");
    for (uint32_t i = 0; i < f->sections.count; i++) {
        const struct dump_section *s = &f->sections.items[i];
        if (strcmp(s->target, target) == 0 && strcmp(s->level, "loops") == 0)
            put_kernel(page, f, target, s);
    }
}

static void put_page(const struct folder *f, struct strbuf *page)
{
    static const char head[] =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
        "<title>urza: every level</title>\n<style>\n"
        "body { font-family: sans-serif; margin: 1em; }\n"
        ".row { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(20em, 1fr);"
        " gap: 1em; overflow: auto; }\n"
        "pre { overflow: auto; max-height: 80vh; background: #f4f4f4; color: #111;"
        " padding: .5em; font-size: 12px; }\n"
        "pre, h4 { margin: .3em 0; }\nsummary { cursor: pointer; padding: .2em; }\n"
        "</style></head><body>\n<h1>Every level</h1>\n";
    const struct dump_section *graph = find_section(f, "", "graph", DUMP_NO_KERNEL);
    strbuf_puts(page, head);
    if (graph)
        put_text(page, "graph", graph->text, graph->size);
    for (uint32_t i = 0; i < f->sections.count; i++)
        if (strcmp(f->sections.items[i].level, "optimised") == 0)
            put_target(page, f, f->sections.items[i].target);
    strbuf_puts(page, "</body></html>\n");
}

/* Opens or makes the folder, which must contain nothing but files that will be written. */
static bool open_folder(const struct folder *f, struct error *err)
{
    const struct dirent *entry;
    const char *other = NULL;
    if (!file_make_dirs(f->path, 0755, err))
        return false;
    DIR *folder = opendir(f->path);
    if (!folder)
        return fail(err, ERR_IO, "cannot read the folder '%s': %s", f->path, strerror(errno));
    while (!other && (entry = readdir(folder)) != NULL) {
        bool ours = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (uint32_t i = 0; i < f->count; i++)
            ours |= strcmp(entry->d_name, f->files[i].name) == 0;
        if (!ours)
            other = arena_strdup(f->cli->arena, entry->d_name);
    }
    closedir(folder);
    return !other ||
           fail(err, ERR_USAGE, "the folder '%s' has other files, as '%s'", f->path, other);
}

bool dump_all_write(struct cli *cli, const char *path, const char *dump, struct error *err)
{
    struct folder *f = ARENA_NEW(cli->arena, struct folder);
    *f = (struct folder){.cli = cli, .path = path};
    if (!add_files(f, dump, err))
        return false;
    put_page(f, file_of(f, "index.html"));
    if (!open_folder(f, err))
        return false;
    for (uint32_t i = 0; i < f->count; i++) {
        struct strbuf name;
        strbuf_init(&name, cli->arena);
        strbuf_printf(&name, "%s/%s", path, f->files[i].name);
        if (!file_write_atomic(name.data, f->files[i].text.data, f->files[i].text.size_bytes, 0644,
                               err))
            return false;
    }
    return true;
}
