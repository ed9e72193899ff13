/* What a step says of itself (package/step_spec.h). */
#include <stdlib.h>
#include <string.h>

#include "compiler/step/step_priv.h"

/* The number that an attribute's text is in the row: "0.9", "false". */
static double default_of(const char *text)
{
    return strncmp(text, "true", 4) == 0 ? 1 : strtod(text, NULL);
}

/* All attributes of the operation: those that were given, and the row's values of the others. */
static void describe_attrs(const struct step_parts *parts, struct arena *arena,
                           struct step_spec *out)
{
    const char *at = parts->row->attrs;
    for (at += strspn(at, " "); *at && out->attr_count < STEP_ATTRS_MOST; at += strspn(at, " ")) {
        const char *colon = strchr(at, ':'), *equals = strchr(at, '=');
        struct step_attr *attr = &out->attrs[out->attr_count++];
        attr->name = arena_strndup(arena, at, (size_t)(colon - at));
        attr->value = default_of(equals + 1);
        for (uint32_t i = 0; i < parts->optimizer->attr_count; i++) {
            const struct op_value *given = &parts->optimizer->attrs[i];
            if (strcmp(given->name, attr->name) == 0)
                attr->value = given->kind == OP_FLOAT ? given->f : (double)given->i;
        }
        at += strcspn(at, " ");
    }
}

static bool is_trained(const struct step_parts *parts, const char *name)
{
    for (uint32_t i = 0; i < parts->count; i++)
        if (strcmp(graph_node(parts->joint, parts->params[i])->attrs->name, name) == 0)
            return true;
    return false;
}

static bool is_running(const struct step_parts *parts, const char *name)
{
    for (uint32_t i = 0; i < parts->request->running_count; i++)
        if (strcmp(parts->request->running[i].param, name) == 0)
            return true;
    return false;
}

void step_describe(const struct step_parts *parts, struct arena *arena, struct step_spec *out)
{
    static const char *const schedules[] = {"constant", "linear", "cosine"};
    const struct graph *block = parts->block;
    const struct step_options *options = parts->options;
    const struct step_request *request = parts->request;
    const char *loss = request->loss ? request->loss : "loss";
    *out = (struct step_spec){.loss = arena_strdup(arena, loss),
                              .training = request->training,
                              .optimizer = parts->row->name,
                              .schedule = schedules[options->schedule],
                              .clip_norm = options->clip_norm,
                              .warmup = options->warmup,
                              .steps = options->steps,
                              .floor = options->floor,
                              .loss_scale = options->loss_scale,
                              .dynamic_scale = options->dynamic_scale};
    describe_attrs(parts, arena, out);
    const char **trained = ARENA_ARRAY(arena, const char *, parts->count + 1);
    const char **frozen = ARENA_ARRAY(arena, const char *, block->params.count + 1);
    for (uint32_t i = 0; i < parts->count; i++)
        trained[out->trained_count++] = graph_node(parts->joint, parts->params[i])->attrs->name;
    for (uint32_t i = 0; i < block->params.count; i++) {
        const char *name = graph_node(block, block->params.items[i])->attrs->name;
        if (!is_trained(parts, name) && !is_running(parts, name))
            frozen[out->frozen_count++] = name;
    }
    const char **running = ARENA_ARRAY(arena, const char *, request->running_count + 1);
    for (uint32_t i = 0; i < request->running_count; i++)
        running[out->running_count++] = request->running[i].param;
    out->running = running;
    out->trained = trained;
    out->frozen = frozen;
}
