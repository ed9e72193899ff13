#include "compiler/step/step_test_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* last: it defines fail as a macro */

static uint32_t names_of(struct stepped *s, const struct graph *block, const char *wrt,
                         const char **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; !wrt && i < block->params.count; i++)
        out[count++] = graph_node(block, block->params.items[i])->attrs->name;
    while (wrt && *wrt) {
        size_t size = strcspn(wrt, " ");
        out[count++] = arena_strndup(&s->arena, wrt, size);
        wrt += size + (wrt[size] == ' ');
    }
    return count;
}

static void new_tensor(struct stepped *s, value_id input, struct interp_tensor *out)
{
    const struct node *node = graph_node(&s->graph, input);
    *out = (struct interp_tensor){.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    int64_t dims[LIMIT_NAMED_DIMS];
    for (size_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        dims[i] = STEP_DIM;
    for (uint32_t i = 0; i < node->rank; i++) {
        assert_true(dim_eval(&s->graph.dims, node->shape[i], dims, &out->shape[i]));
        out->count *= out->shape[i];
    }
    out->cells = ARENA_ARRAY(&s->arena, union cell, (size_t)out->count + 1);
}

bool stepped_try(struct stepped *s, const char *block, const char *optimizer, const char *loss,
                 const char *wrt, struct error *err)
{
    struct graph from;
    const char *names[16];
    *s = (struct stepped){.mode = INTERP_REFERENCE};
    arena_init(&s->arena);
    if (!graph_parse(&from, &s->arena, block, strlen(block), err))
        fail_msg("%s: %s\n%s", err->place, err->message, block);
    uint32_t count = names_of(s, &from, wrt, names);
    const struct step_request request = {
        .optimizer = optimizer, .loss = loss, .wrt = names, .wrt_count = count};
    if (!step_graph(&s->graph, &s->arena, &from, &request, &s->spec, err))
        return false;
    if (!graph_verify(&s->graph, err))
        fail_msg("%s: %s", err->place, err->message);
    s->inputs = ARENA_ARRAY(&s->arena, struct interp_tensor, s->graph.inputs.count);
    s->outputs = ARENA_ARRAY(&s->arena, struct interp_tensor, s->graph.outputs.count);
    for (uint32_t i = 0; i < s->graph.inputs.count; i++)
        new_tensor(s, s->graph.inputs.items[i], &s->inputs[i]);
    return true;
}

void stepped_begin(struct stepped *s, const char *block, const char *optimizer, const char *loss,
                   const char *wrt)
{
    struct error err = {0};
    if (!stepped_try(s, block, optimizer, loss, wrt, &err))
        fail_msg("%s: %s: %s", optimizer, err.place, err.message);
}

void stepped_release(struct stepped *s)
{
    arena_release(&s->arena);
}

static uint32_t input_of(const struct stepped *s, const char *name)
{
    uint32_t i = 0;
    while (i < s->graph.inputs.count &&
           strcmp(graph_node(&s->graph, s->graph.inputs.items[i])->attrs->name, name) != 0)
        i++;
    return i;
}

bool stepped_has(const struct stepped *s, const char *input)
{
    return input_of(s, input) < s->graph.inputs.count;
}

struct interp_tensor *stepped_input(struct stepped *s, const char *name)
{
    if (!stepped_has(s, name))
        fail_msg("no input '%s'", name);
    return &s->inputs[input_of(s, name)];
}

void stepped_set(struct stepped *s, const char *name, const double *values)
{
    struct interp_tensor *t = stepped_input(s, name);
    for (int64_t i = 0; i < t->count; i++)
        if (dtype_is_float(t->dtype))
            t->cells[i].f = values[i];
        else
            t->cells[i].i = (int64_t)values[i];
}

static double cell_at(const struct interp_tensor *t, int64_t at)
{
    assert_in_range(at, 0, t->count - 1);
    return dtype_is_float(t->dtype) ? t->cells[at].f : (double)t->cells[at].i;
}

double stepped_get(struct stepped *s, const char *name, int64_t at)
{
    return cell_at(stepped_input(s, name), at);
}

void stepped_advance(struct stepped *s)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    struct error err = {0};
    for (size_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        dims[i] = STEP_DIM;
    const struct interp_arguments arguments = {dims, s->inputs, s->graph.inputs.count};
    const struct interp_options options = {.mode = s->mode};
    if (!interp_run(&s->graph, &options, &arguments, &s->arena, s->outputs, &err))
        fail_msg("%s: %s", err.place, err.message);
    for (uint32_t i = 0; i < s->graph.outputs.count; i++) {
        uint32_t input = graph_updates_input(&s->graph, i);
        if (input == UPDATE_NONE)
            continue;
        assert_int_equal(s->inputs[input].count, s->outputs[i].count);
        memcpy(s->inputs[input].cells, s->outputs[i].cells,
               (size_t)s->outputs[i].count * sizeof(union cell));
    }
}

double stepped_output(struct stepped *s, const char *name)
{
    for (uint32_t i = 0; i < s->graph.outputs.count; i++)
        if (strcmp(s->graph.outputs.items[i].name, name) == 0)
            return cell_at(&s->outputs[i], 0);
    fail_msg("no output '%s'", name);
    return 0;
}
