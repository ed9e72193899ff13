#include "grafted.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/compile.h"

static void add_param(struct strbuf *out, const char *dtype, int param)
{
    static const struct {
        const char *name;
        int rows, cols;
    } params[] = {{"w1", GRAFT_HIDDEN, GRAFT_FEATURES},
                  {"b1", GRAFT_HIDDEN, 0},
                  {"w2", GRAFT_FEATURES, GRAFT_HIDDEN},
                  {"b2", GRAFT_FEATURES, 0}};
    strbuf_printf(out, "{\"id\": \"%s\", \"dtype\": \"%s\", \"shape\": [%d", params[param].name,
                  dtype, params[param].rows);
    if (params[param].cols > 0)
        strbuf_printf(out, ", %d", params[param].cols);
    strbuf_puts(out, "], \"init\": {\"kind\": \"uniform\", \"low\": -1, \"high\": 1}}");
}

static void add_node(struct strbuf *out, const char *id, const char *op, const char *in)
{
    strbuf_printf(out, "%s{\"id\": \"%s\", \"op\": \"%s\", \"in\": [%s]%s}",
                  strcmp(id, "a") == 0 ? "" : ", ", id, op, in,
                  strcmp(op, "dropout") == 0 ? ", \"attrs\": {\"p\": 0.5}" : "");
}

static void write_blueprint(struct strbuf *out, const char *dtype, enum graft_form form)
{
    const char *behind = form == GRAFT_DROPOUT    ? "dropout"
                         : form == GRAFT_DETACHED ? "detach"
                                                  : "identity";
    strbuf_printf(out,
                  "{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"min\": 0, \"max\": "
                  "64}}, \"inputs\": [{\"id\": \"x\", \"dtype\": \"%s\", \"shape\": [\"B\", %d]}],"
                  "\"params\": [",
                  dtype, GRAFT_FEATURES);
    for (int i = 0; i < 4; i++) {
        strbuf_puts(out, i > 0 ? "," : "");
        add_param(out, dtype, form == GRAFT_REORDERED ? 3 - i : i);
    }
    strbuf_puts(out, "], \"nodes\": [");
    add_node(out, "a", "linear", "\"x\", \"w1\", \"b1\"");
    add_node(out, "t", "tanh", "\"a\"");
    add_node(out, "d", behind, "\"t\"");
    add_node(out, form == GRAFT_NAN ? "m" : "s", "linear", "\"d\", \"w2\", \"b2\"");
    if (form == GRAFT_NAN) { /* with log x - log x */
        add_node(out, "l", "log", "\"x\"");
        add_node(out, "n", "sub", "\"l\", \"l\"");
        add_node(out, "s", "add", "\"m\", \"n\"");
    }
    strbuf_puts(out, "], \"outputs\": [\"s\"]}");
}

void grafted_package(const struct grafted *what, struct arena *arena, struct compile_result *out)
{
    struct strbuf text;
    struct error err;
    strbuf_init(&text, arena);
    write_blueprint(&text, what->dtype, what->form);
    const struct compile_options compile = {.strategy = STRATEGY_FAST,
                                            .targets =
                                                what->targets ? what->targets : target_best_here(),
                                            .training = what->form == GRAFT_DROPOUT,
                                            .backward = true,
                                            .graft = what->blend,
                                            .key = what->key};
    if (!compile_blueprint(text.data, text.size_bytes, &compile, arena, out, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
}

urza_module *grafted_module(const char *dtype, const char *blend, enum graft_form form,
                            const urza_load_options *options)
{
    struct arena arena;
    struct compile_result result;
    urza_error problem;
    urza_module *module;
    urza_load_options load = options ? *options : (urza_load_options){0};
    arena_init(&arena);
    grafted_package(&(struct grafted){.dtype = dtype, .blend = blend, .form = form}, &arena,
                    &result);
    load.trust = URZA_TRUST_ALLOW_UNSIGNED;
    must(urza_load_memory(result.package, result.package_bytes, &load, &module, &problem),
         &problem);
    arena_release(&arena);
    return module;
}

static DLTensor tensor(const struct place *place, void *data, int32_t rank, int64_t *shape)
{
    bool wide = strcmp(place->dtype, "f64") == 0;
    return (DLTensor){.data = data,
                      .device = {.device_type = kDLCPU},
                      .ndim = rank,
                      .dtype = {kDLFloat, wide ? 64 : 32, 1},
                      .shape = shape};
}

int64_t place_count(const DLTensor *tensor)
{
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->ndim; i++)
        count *= tensor->shape[i];
    return count;
}

double place_get(const DLTensor *tensor, int64_t at)
{
    return tensor->dtype.bits == 64 ? ((double *)tensor->data)[at]
                                    : (double)((float *)tensor->data)[at];
}

void place_set(const DLTensor *tensor, int64_t at, double value)
{
    if (tensor->dtype.bits == 64)
        ((double *)tensor->data)[at] = value;
    else
        ((float *)tensor->data)[at] = (float)value;
}

static void fill(const DLTensor *tensor, uint64_t seed, double scale)
{
    for (int64_t i = 0; i < place_count(tensor); i++)
        place_set(tensor, i,
                  scale == 0 ? (double)NAN : scale * rng_normal(rng_key(seed), (uint64_t)i));
}

void place_clear(struct place *place)
{
    place->y = tensor(place, place->memory[1], 2, place->shape);
    place->dh = tensor(place, place->memory[3], 2, place->shape);
    fill(&place->y, 0, 0);
    fill(&place->dh, 0, 0);
    for (uint32_t i = 0; i < place->params; i++)
        fill(&place->dparam[i], 0, 0);
}

void place_init(struct place *place, urza_module *module, const char *dtype, int64_t rows,
                uint64_t seed)
{
    place->module = module;
    place->dtype = dtype;
    place->rows = rows;
    place->params = urza_param_count(module);
    place->shape[0] = place->alpha_shape[0] = rows;
    place->shape[1] = GRAFT_FEATURES;
    place->h = tensor(place, place->memory[0], 2, place->shape);
    place->dy = tensor(place, place->memory[2], 2, place->shape);
    place->factors = tensor(place, place->memory[4], 1, place->alpha_shape);
    for (uint32_t i = 0; i < place->params; i++) {
        const urza_tensor_info *info = urza_param_info(module, i);
        for (int32_t k = 0; k < info->rank; k++)
            place->param_shapes[i][k] = info->shape[k];
        place->param[i] =
            tensor(place, place->param_memory[0][i], info->rank, place->param_shapes[i]);
        place->dparam[i] =
            tensor(place, place->param_memory[1][i], info->rank, place->param_shapes[i]);
        fill(&place->param[i], seed + 10 + i, 0.5);
    }
    fill(&place->h, seed, 1);
    fill(&place->dy, seed + 1, 1);
    place_clear(place);
}

int place_is_host(const struct place *place)
{
    return place->y.data == place->h.data;
}

urza_slot_call place_call(struct place *place, uint64_t step, const DLTensor *factors)
{
    return (urza_slot_call){.step = step,
                            .h = &place->h,
                            .params = place->param,
                            .param_count = place->params,
                            .factors = factors,
                            .y = &place->y};
}

void place_step(struct place *place, urza_slot *slot, uint64_t step, const DLTensor *factors)
{
    urza_slot_tape *tape;
    urza_error err;
    const urza_slot_gradients gradients = {
        .dy = &place->dy, .dh = &place->dh, .params = place->dparam, .param_count = place->params};
    const urza_slot_call call = place_call(place, step, factors);
    must(urza_slot_forward(slot, &call, &tape, &err), &err);
    must(urza_slot_backward(slot, tape, &gradients, &err), &err);
}

void place_reach(struct place *place, urza_slot *slot, urza_slot_state state, int most)
{
    while (urza_slot_state_get(slot) != state && most-- > 0) {
        place_clear(place);
        place_step(place, slot, (uint64_t)most, NULL);
        urza_slot_tick(slot, NULL);
    }
    if (urza_slot_state_get(slot) != state)
        TEST_FAILED("the slot is %s, expected %s", urza_slot_state_name(urza_slot_state_get(slot)),
                    urza_slot_state_name(state));
    place_clear(place);
}

urza_slot *place_slot(urza_slot_options options)
{
    urza_slot *slot;
    urza_error err;
    options.name = options.name ? options.name : "one";
    options.train_ticks = options.train_ticks ? options.train_ticks : 2;
    options.blend_ticks = options.blend_ticks ? options.blend_ticks : 4;
    must(urza_slot_open(&options, &slot, &err), &err);
    return slot;
}

void place_plant(urza_slot *slot, urza_module *module)
{
    urza_error err;
    uint32_t seed = 0;
    must(urza_slot_plant(slot, "seed", module, &seed, &err), &err);
    assert_true(seed > 0);
}

void place_command(urza_slot *slot, urza_command_kind kind, uint32_t ticks, double target)
{
    const urza_command c = {.kind = kind, .ticks = ticks, .target = target};
    urza_error err;
    must(urza_slot_command(slot, &c, &err), &err);
}

uint32_t place_events(urza_slot *slot, urza_slot_event_kind kind, const char *words)
{
    urza_slot_event events[300];
    uint32_t count = 300, found = 0;
    urza_slot_events(slot, events, &count);
    for (uint32_t i = 0; i < count; i++)
        found += events[i].kind == kind && strstr(events[i].reason, words);
    return found;
}
