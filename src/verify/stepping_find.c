/* What a whole training step has, by the names that step_spec.h and compiler/step/step.h say. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/stepping_priv.h"

static const char *input_name(const struct stepping *s, uint32_t input)
{
    return graph_node(s->step, s->step->inputs.items[input])->attrs->name;
}

/* The input PREFIX.NAME, or NAME where the prefix is "", and what updates it. */
static struct place find_place(const struct stepping *s, const char *prefix, const char *name)
{
    const struct graph *g = s->step;
    struct place place = {NONE, NONE};
    size_t skip = strlen(prefix);
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        const char *of = input_name(s, i);
        if (skip > 0 && (strncmp(of, prefix, skip) != 0 || of[skip] != '.'))
            continue;
        if (strcmp(of + skip + (skip > 0), name) == 0)
            place.input = i;
    }
    for (uint32_t i = 0; place.input != NONE && i < g->updates.count; i++)
        if (g->updates.items[i].input == place.input)
            place.output = g->updates.items[i].output;
    return place;
}

static uint32_t find_output(const struct graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (strcmp(g->outputs.items[i].name, name) == 0)
            return i;
    return NONE;
}

static bool lacks(struct stepping *s, const char *what, const char *name)
{
    return fail(&s->d.err, ERR_VERIFY, "the step has no %s of '%.100s'", what, name);
}

static bool find_trained(struct stepping *s, const char *name, struct trained *out)
{
    out->w = find_place(s, "", name);
    out->low = (struct place){NONE, NONE};
    if (out->w.output == NONE)
        return lacks(s, "update", name);
    enum dtype dtype = (enum dtype)graph_node(s->step, s->step->inputs.items[out->w.input])->dtype;
    if (!dtype_is_float(dtype))
        return lacks(s, "gradient", name);
    out->narrow = dtype != DTYPE_F64;
    s->is_trained[out->w.input] = true;
    if (dtype_bytes(dtype) < 4) { /* others may have a param of that name */
        out->low = find_place(s, "low", name);
        if (out->low.output == NONE)
            return lacks(s, "master copy", name);
        s->is_own[out->low.input] = true;
    }
    for (int k = 0; k < OPTIMIZER_STATES; k++) {
        const char *state = s->optimizer->states[k];
        out->states[k] = (struct place){NONE, NONE};
        if (!state || (strcmp(state, "buf") == 0 && step_spec_attr(s->spec, "momentum") == 0))
            continue;
        out->states[k] = find_place(s, state, name);
        if (out->states[k].output == NONE)
            return lacks(s, "optimizer's state", name);
        s->is_own[out->states[k].input] = true;
    }
    return true;
}

static bool find_own(struct stepping *s)
{
    s->number = find_place(s, "", "step");
    s->lr = find_place(s, "", "lr").input;
    s->norm_output = s->spec->clip_norm > 0 ? find_output(s->step, "grad_norm") : NONE;
    if (s->number.output == NONE || s->lr == NONE ||
        (s->spec->clip_norm > 0 && s->norm_output == NONE))
        return fail(&s->d.err, ERR_VERIFY, "inputs or outputs of a step are missing");
    s->is_own[s->number.input] = s->is_own[s->lr] = true;
    s->narrow = graph_node(s->step, s->step->inputs.items[s->lr])->dtype != DTYPE_F64;
    s->scale = s->good = (struct place){NONE, NONE};
    if (!s->spec->dynamic_scale)
        return true;
    s->scale = find_place(s, "", "scale");
    s->good = find_place(s, "", "good");
    if (s->scale.output == NONE || s->good.output == NONE)
        return fail(&s->d.err, ERR_VERIFY, "the states of a dynamic scale are missing");
    s->is_own[s->scale.input] = s->is_own[s->good.input] = true;
    return true;
}

static bool find_all(struct stepping *s)
{
    const struct step_spec *spec = s->spec;
    uint32_t inputs = s->step->inputs.count;
    s->is_own = ARENA_ARRAY(s->keep, bool, inputs + 1);
    s->is_trained = ARENA_ARRAY(s->keep, bool, inputs + 1);
    s->is_frozen = ARENA_ARRAY(s->keep, bool, inputs + 1);
    s->trained = ARENA_ARRAY(s->keep, struct trained, spec->trained_count + 1);
    for (uint32_t i = 0; i < spec->trained_count; i++)
        if (!find_trained(s, spec->trained[i], &s->trained[i]))
            return false;
    for (uint32_t i = 0; i < spec->frozen_count; i++) {
        struct place place = find_place(s, "", spec->frozen[i]);
        if (place.input == NONE || place.output != NONE)
            return fail(&s->d.err, ERR_VERIFY, "'%.100s' is no frozen parameter of the step",
                        spec->frozen[i]);
        s->is_frozen[place.input] = true;
    }
    s->running = ARENA_ARRAY(s->keep, struct place, spec->running_count + 1);
    for (uint32_t i = 0; i < spec->running_count; i++) {
        s->running[i] = find_place(s, "", spec->running[i]);
        if (s->running[i].output == NONE)
            return lacks(s, "update", spec->running[i]);
        s->is_frozen[s->running[i].input] = true;
    }
    return find_own(s);
}

static bool make_loss(struct stepping *s)
{
    struct graph only = *s->step;
    uint32_t at = find_output(s->step, "loss");
    if (at == NONE)
        return fail(&s->d.err, ERR_VERIFY, "the step has no output 'loss'");
    const struct node *node = graph_node(s->step, s->step->outputs.items[at].value);
    if (node->rank > 0 || !dtype_is_float((enum dtype)node->dtype))
        return fail(&s->d.err, ERR_VERIFY, "the output 'loss' is no float without dims");
    only.outputs.items = &s->step->outputs.items[at];
    only.outputs.count = 1;
    only.updates.count = 0;
    if (!graph_copy_live(&s->loss, s->keep, &only, &s->d.err))
        return false;
    value_id number = s->loss.inputs.items[s->number.input];
    for (value_id v = 1; v < s->loss.nodes.count; v++) {
        const struct node *n = graph_node(&s->loss, v);
        for (uint32_t i = 0; i < n->operand_count; i++)
            s->moves |= n->operands[i] == number;
    }
    return true;
}

/* The input that an output updates takes its place where nothing is found from it. */
static void leave_out(struct stepping *s, struct graph *only, struct place place)
{
    if (place.output != NONE)
        only->outputs.items[place.output].value = s->step->inputs.items[place.input];
}

static bool make_source(struct stepping *s)
{
    struct graph only = *s->step;
    size_t bytes = s->step->outputs.count * sizeof *only.outputs.items;
    bool param = s->optimizer->from_param && step_spec_attr(s->spec, "momentum") == 0;
    only.outputs.items = arena_memdup(s->keep, s->step->outputs.items, bytes);
    only.updates.count = 0;
    for (uint32_t i = 0; i < s->spec->trained_count; i++) {
        const struct trained *t = &s->trained[i];
        if (!param)
            leave_out(s, &only, t->w);
        if (!param)
            leave_out(s, &only, t->low);
        for (unsigned n = 0; n < OPTIMIZER_STATES; n++)
            if (!(s->optimizer->from_states >> n & 1))
                leave_out(s, &only, t->states[n]);
    }
    return graph_copy_live(&s->source, s->keep, &only, &s->d.err);
}

bool stepping_find(struct stepping *s)
{
    return find_all(s) && make_loss(s) && make_source(s);
}
