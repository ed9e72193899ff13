/* Reads a package for a picture: the graph and the plan of the best target. */
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "server/picture.h"
#include "server/picture_priv.h"

#define LINE_COLUMNS 100u

static void draw(struct picture_subject *subject, struct arena *arena, struct strbuf *out)
{
    struct graph *graph = &subject->graph;
    const struct plan *plan = subject->target ? &subject->plan : NULL;
    struct picture picture;
    struct strbuf text;
    uint32_t values = graph->nodes.count - 1;
    picture_build(&picture, graph, plan, arena);
    strbuf_init(&text, arena);
    strbuf_puts(&text, *graph->name ? graph->name : "graph");
    if (plan)
        strbuf_printf(&text, ", for %s: %u values; kernels: %u in a call, %u at load",
                      subject->target, values, plan->forward.count, plan->prepare.count);
    else
        strbuf_printf(&text, ": %u values, no code", values);
    picture.heading = label_make(arena, text.data, text.size_bytes, LINE_COLUMNS);
    strbuf_init(&text, arena);
    if (picture.missing_values > 0)
        strbuf_printf(&text, "%u of %u values are not drawn. ", picture.missing_values, values);
    if (picture.missing_lines > 0)
        strbuf_printf(&text, "%u lines are not drawn.", picture.missing_lines);
    picture.note = label_make(arena, text.data, text.size_bytes, LINE_COLUMNS);
    picture_print(&picture, out);
}

/* Checks what plan_parse cannot: values and outputs in the plan exist in the graph. */
static bool check_plan(const struct plan *plan, const struct graph *graph, struct error *err)
{
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->value == VALUE_NONE || buffer->value >= graph->nodes.count ||
            (buffer->kind == BUFFER_OUTPUT && buffer->index >= graph->outputs.count))
            return fail(err, ERR_PACKAGE, "buffer %u is of no value of the graph", i);
    }
    return true;
}

/* Finds the entry FOLDER/TARGET; absence is no failure. */
static bool find_entry(const void *bytes, size_t size, const char *folder, const char *target,
                       const char **out_text, size_t *out_size)
{
    char name[LIMIT_NAME];
    struct error none;
    const uint8_t *data;
    snprintf(name, sizeof name, "%s%s", folder, target);
    if (!package_entry(bytes, size, name, &data, out_size, &none))
        return false;
    *out_text = (const char *)data;
    return true;
}

static const char *best_target(const void *bytes, size_t size)
{
    const char *best = NULL, *name, *text;
    size_t text_size;
    for (uint32_t i = 0; (name = target_name_at(i)) != NULL; i++)
        if ((!best || target_rank(name) > target_rank(best)) &&
            find_entry(bytes, size, "optimised/", name, &text, &text_size))
            best = name;
    return best;
}

bool picture_open(const void *bytes, size_t size, struct arena *arena, struct picture_subject *out,
                  struct error *err)
{
    struct graph *graph = &out->graph;
    struct plan *plan = &out->plan;
    const char *target = best_target(bytes, size), *text;
    size_t text_size;
    struct error inner;
    *out = (struct picture_subject){.plan.arena = arena};
    if (!find_entry(bytes, size, target ? "optimised/" : "graph", target ? target : "", &text,
                    &text_size))
        return fail(err, ERR_PACKAGE, "the package has no graph");
    bool ok = graph_parse(graph, arena, text, text_size, &inner);
    if (ok && target)
        ok = find_entry(bytes, size, "plan/", target, &text, &text_size)
                 ? plan_parse(plan, arena, &graph->dims, text, text_size, &inner) &&
                       check_plan(plan, graph, &inner)
                 : fail(&inner, ERR_PACKAGE, "there is no plan");
    if (!ok)
        return fail(err, ERR_PACKAGE, "%s: %s", target ? target : "graph", inner.message);
    out->target = target;
    return true;
}

bool picture_of_package(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                        struct error *err)
{
    struct picture_subject subject;
    if (!picture_open(bytes, size, arena, &subject, err))
        return false;
    draw(&subject, arena, out);
    return true;
}
