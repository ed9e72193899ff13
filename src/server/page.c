/* The page for people: `/` and the files it needs.
 *
 *   /status, /api/v1/kernels ─ as JSON ─► tables ─► index.html at its mark ─► `/`
 *
 * `/` can be read without scripts. With scripts, the modules of page/ replace the content made here
 * and keep it up to date; they first draw the same figures and tables, so the layout does not
 * change.
 *
 * 1. Every text that is not a constant of this file is printed by put_text, which escapes it.
 * 2. Nothing is loaded from other hosts, and documents contain no inline scripts or styles: POLICY
 *    makes browsers refuse both. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "server/api.h"
#include "server/page.h"

#define MARK "<!-- content -->"
#define POLICY                                                                          \
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " \
    "object-src 'none'"

/* Values as text. */

static void put_text(struct strbuf *out, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&': strbuf_puts(out, "&amp;"); break;
        case '<': strbuf_puts(out, "&lt;"); break;
        case '>': strbuf_puts(out, "&gt;"); break;
        case '"': strbuf_puts(out, "&quot;"); break;
        case '\'': strbuf_puts(out, "&#39;"); break;
        default: strbuf_add(out, text, 1);
        }
}

typedef void put_fn(struct strbuf *out, const json_t *value);

static void put_word(struct strbuf *out, const json_t *value)
{
    put_text(out, json_is_string(value) ? json_string_value(value) : "");
}

static void put_words(struct strbuf *out, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        strbuf_puts(out, i > 0 ? ", " : "");
        put_word(out, json_array_get(value, i));
    }
}

static void put_count(struct strbuf *out, const json_t *value)
{
    strbuf_printf(out, "%.0f", json_number_value(value));
}

static void put_share(struct strbuf *out, const json_t *value)
{
    strbuf_printf(out, "%.1f %%", 100 * json_number_value(value));
}

static void put_ms(struct strbuf *out, const json_t *value)
{
    double ms = json_number_value(value);
    if (ms < 1000)
        strbuf_printf(out, "%.0f ms", ms);
    else
        strbuf_printf(out, "%.2f s", ms / 1000);
}

static void put_us(struct strbuf *out, const json_t *value)
{
    if (json_number_value(value) > 0)
        strbuf_printf(out, "%.4g \302\265s", json_number_value(value));
    else
        strbuf_puts(out, "\342\200\223");
}

static void put_mb(struct strbuf *out, const json_t *value)
{
    strbuf_printf(out, "%.1f MiB", json_number_value(value));
}

static void put_bytes(struct strbuf *out, const json_t *value)
{
    double bytes = json_number_value(value);
    if (bytes < 1048576)
        strbuf_printf(out, "%.1f KiB", bytes / 1024);
    else
        strbuf_printf(out, "%.1f MiB", bytes / 1048576);
}

static void put_seconds(struct strbuf *out, const json_t *value)
{
    int64_t minutes = (int64_t)json_number_value(value) / 60;
    if (minutes >= 1440)
        strbuf_printf(out, "%lld d ", (long long)(minutes / 1440));
    strbuf_printf(out, "%lld h %lld min", (long long)(minutes / 60 % 24),
                  (long long)(minutes % 60));
}

static void put_time(struct strbuf *out, const json_t *value)
{
    char text[40];
    struct tm parts;
    time_t seconds = (time_t)(json_integer_value(value) / 1000);
    if (gmtime_r(&seconds, &parts) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts))
        put_text(out, text);
}

/* A kernel's id, of which the first characters are shown. With scripts, app.js makes such links
 * lead to its own view of the kernel. */
static void put_kernel(struct strbuf *out, const json_t *value)
{
    const char *id = json_is_string(value) ? json_string_value(value) : "";
    if (*id == '\0') {
        strbuf_puts(out, "\342\200\223");
        return;
    }
    strbuf_puts(out, "<a class=\"id\" href=\"/api/v1/kernels/");
    put_text(out, id);
    strbuf_puts(out, "\" title=\"");
    put_text(out, id);
    strbuf_puts(out, "\">");
    put_text(out, strlen(id) > 19 ? arena_strndup(out->arena, id, 19) : id);
    strbuf_puts(out, "</a>");
}

static void put_parts(struct strbuf *out, const json_t *value)
{
    static const char *const parts[][2] = {{"", "package"},
                                           {"/manifest", "manifest"},
                                           {"/evidence", "evidence"},
                                           {"/graph.svg", "graph"},
                                           {"/memory.svg", "memory"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        strbuf_printf(out, "%s<a href=\"/kernel/", i > 0 ? " " : "");
        put_word(out, value);
        strbuf_printf(out, "%s\">%s</a>", parts[i][0], parts[i][1]);
    }
}

/* Figures and tables, with the same rows as view_status.js. */

struct shown {
    const char *title, *key;
    put_fn *put;
};

static const struct shown figures[] = {
    {"Compiling", "compilations_active", put_count},
    {"Compile slots", "compile_slots", put_count},
    {"Waiting", "compilations_waiting", put_count},
    {"Jobs queued", "jobs_queued", put_count},
    {"Cache hit rate", "cache_hit_rate", put_share},
    {"Compilations", "compilations_total", put_count},
    {"Average compilation", "avg_compilation_time_ms", put_ms},
    {"Kernels", "kernels", put_count},
    {"Size of packages", "kernel_cache_size_mb", put_mb},
    {"Up for", "uptime_s", put_seconds},
};

static const struct shown compilations[] = {
    {"When", "at_ms", put_time},    {"Kernel", "kernel", put_kernel},
    {"Result", "status", put_word}, {"Strategy", "strategy", put_word},
    {"Time", "total_ms", put_ms},   {"Why it was compiled", "miss", put_word},
};

static const struct shown kernels[] = {
    {"Kernel", "id", put_kernel},       {"Targets", "targets", put_words},
    {"Strategy", "strategy", put_word}, {"Status", "status", put_word},
    {"Evidence", "evidence", put_word}, {"Latency", "latency_us", put_us},
    {"Size", "size_bytes", put_bytes},  {"Published", "created_ms", put_time},
    {"Tags", "tags", put_words},        {"Parts", "id", put_parts},
};

static void put_figures(struct strbuf *out, const json_t *status)
{
    strbuf_puts(out, "<dl class=\"figures\">\n");
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        strbuf_printf(out, "<div><dt>%s</dt><dd>", figures[i].title);
        figures[i].put(out, json_object_get(status, figures[i].key));
        strbuf_puts(out, "</dd></div>\n");
    }
    strbuf_puts(out, "</dl>\n");
}

static void put_table(struct strbuf *out, const char *title, const struct shown *columns,
                      size_t count, const json_t *rows)
{
    strbuf_printf(out, "<section><h2>%s</h2>\n<div class=\"scroll\"><table>\n<thead><tr>", title);
    for (size_t c = 0; c < count; c++)
        strbuf_printf(out, "<th scope=\"col\">%s</th>", columns[c].title);
    strbuf_puts(out, "</tr></thead>\n<tbody>\n");
    for (size_t r = 0; r < json_array_size(rows); r++) {
        strbuf_puts(out, "<tr>");
        for (size_t c = 0; c < count; c++) {
            strbuf_puts(out, "<td>");
            columns[c].put(out, json_object_get(json_array_get(rows, r), columns[c].key));
            strbuf_puts(out, "</td>");
        }
        strbuf_puts(out, "</tr>\n");
    }
    if (json_array_size(rows) == 0)
        strbuf_printf(out, "<tr><td colspan=\"%zu\" class=\"faint\">None yet.</td></tr>\n", count);
    strbuf_puts(out, "</tbody></table></div></section>\n");
}

static void put_heading(struct strbuf *out, const json_t *status)
{
    strbuf_puts(out, "<h1>Status</h1>\n<p class=\"lead\"><span class=\"pill\">");
    put_word(out, json_object_get(status, "status"));
    strbuf_puts(out, "</span> <span class=\"faint\">");
    put_word(out, json_object_get(status, "version"));
    strbuf_puts(out, "</span></p>\n");
}

/* The answer of another route, as a value that the caller releases. NULL: it failed. */
static json_t *answer_of(struct request *request, route_fn *handle, struct error *err)
{
    if (handle(request, err) != HANDLED_DONE)
        return NULL;
    json_t *value = json_loadb(request->reply.data, request->reply.size, 0, NULL);
    request->reply = (struct reply){.status = 0};
    if (!value)
        fail(err, ERR_BUG, "an answer is no JSON");
    return value;
}

static bool put_content(struct request *request, struct strbuf *out, struct error *err)
{
    if (!(request->scopes & 1u << SCOPE_READ)) {
        strbuf_puts(out,
                    "<h1>Status</h1>\n<p class=\"notice\">This registry answers those who have "
                    "a token. Programs send it as <code>Authorization: Bearer TOKEN</code>; "
                    "on this page it is entered by the button <q>Token</q>, which needs "
                    "scripts.</p>\n");
        return true;
    }
    json_t *status = answer_of(request, route_status, err);
    json_t *listing = status ? answer_of(request, route_kernels, err) : NULL;
    bool ok = listing != NULL;
    if (ok) {
        put_heading(out, status);
        put_figures(out, status);
        put_table(out, "Last compilations", compilations,
                  sizeof compilations / sizeof compilations[0],
                  json_object_get(status, "compilations"));
        put_table(out, "Latest kernels", kernels, sizeof kernels / sizeof kernels[0],
                  json_object_get(listing, "items"));
    }
    json_decref(status);
    json_decref(listing);
    return ok;
}

/* Replies. */

static const struct page_file *find_file(const char *name)
{
    for (uint32_t i = 0; i < page_file_count; i++)
        if (strcmp(page_files[i].name, name) == 0)
            return &page_files[i];
    return NULL;
}

static void add_headers(struct request *request, const char *caching)
{
    reply_header(request, "Content-Security-Policy", POLICY);
    reply_header(request, "X-Content-Type-Options", "nosniff");
    reply_header(request, "Referrer-Policy", "no-referrer");
    reply_header(request, "Cache-Control", caching);
}

enum handled route_page(struct request *request, struct error *err)
{
    const struct page_file *file = find_file("index.html");
    const char *mark = strstr(file->data, MARK);
    struct strbuf text;
    strbuf_init(&text, &request->arena);
    strbuf_add(&text, file->data, (size_t)(mark - file->data));
    if (!put_content(request, &text, err))
        return HANDLED_FAILED;
    strbuf_puts(&text, mark + strlen(MARK));
    add_headers(request, "no-store");
    return reply_text(request, 200, file->type, text.data, text.size_bytes);
}

enum handled route_page_file(struct request *request, struct error *err)
{
    const struct page_file *file = find_file(request->args[0]);
    const char *known = request_header(request, "If-None-Match");
    if (!file || strcmp(file->name, "index.html") == 0)
        return fail(err, ERR_NOT_FOUND, "no file '%.100s' of the page", request->args[0]),
               HANDLED_FAILED;
    add_headers(request, "no-cache");
    reply_header(request, "ETag", file->etag);
    if (known && (strcmp(known, "*") == 0 || strstr(known, file->etag)))
        return reply_text(request, 304, NULL, "", 0);
    return reply_text(request, 200, file->type, file->data, file->size_bytes);
}
