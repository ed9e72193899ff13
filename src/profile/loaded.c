/* Loading a package and making tensors for it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/element.h"
#include "graph/loops.h"
#include "profile/profile_priv.h"
#include "verify/verify.h"

bool fail_as(const urza_error *from, struct error *err)
{
    bool known = from->code > ERR_NONE && from->code < ERR_COUNT;
    fail(err, known ? (enum error_code)from->code : ERR_BUG, "%s", from->message);
    return from->place[0] == '\0' ? false : fail_at(err, "%s", from->place);
}

/* The values of a param of the block, if it has one of that name. */
static void use_param(const struct package_contents *block, const char *name, void *out)
{
    for (uint32_t i = 0; i < block->graph.params.count; i++)
        if (strcmp(graph_node(&block->graph, block->graph.params.items[i])->attrs->name, name) == 0)
            memcpy(out, block->params[i].data, block->params[i].data_bytes);
}

static bool is_updated(const struct graph *graph, uint32_t input)
{
    for (uint32_t i = 0; i < graph->updates.count; i++)
        if (graph->updates.items[i].input == input)
            return true;
    return false;
}

#define SMALL 0.015625 /* of what is drawn: weights of that size keep activations in range */

static void make_small(enum dtype dtype, void *data, size_t i)
{
    switch (dtype) {
    case DTYPE_F64: ((double *)data)[i] = SMALL * fabs(((double *)data)[i]); break;
    case DTYPE_F32: ((float *)data)[i] = (float)SMALL * fabsf(((float *)data)[i]); break;
    case DTYPE_F16: {
        uint16_t *at = (uint16_t *)data + i;
        *at = f16_from_double(SMALL * fabs(f16_to_double(*at)));
        break;
    }
    default: {
        uint16_t *at = (uint16_t *)data + i;
        *at = bf16_from_double(SMALL * fabs(bf16_to_double(*at)));
    }
    }
}

/* Steps follow each other, on what an optimizer may have left behind: no state is negative, weights
 * are small, and the learning rate is 0, so that numbers stay what they are. Numbers that are not,
 * or tiny ones, would take another time. */
static void make_legal(const struct graph *graph, uint32_t input, const DLTensor *tensor)
{
    const struct node *node = graph_node(graph, graph->inputs.items[input]);
    bool updated = is_updated(graph, input);
    size_t count = 1;
    if (graph->updates.count == 0 || !dtype_is_float((enum dtype)node->dtype))
        return;
    for (uint32_t i = 0; i < node->rank; i++)
        count *= (size_t)tensor->shape[i];
    for (size_t i = 0; updated && i < count; i++)
        make_small((enum dtype)node->dtype, tensor->data, i);
    if (!updated && node->rank == 0)
        memset(tensor->data, 0, dtype_bytes((enum dtype)node->dtype));
}

static bool make_tensors(struct loaded *loaded, struct arena *arena, struct error *err)
{
    const struct graph *graph = &loaded->graph;
    loaded->inputs = ARENA_ARRAY(arena, DLTensor, graph->inputs.count);
    loaded->outputs = ARENA_ARRAY(arena, DLTensor, graph->outputs.count);
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        if (!tensor_make(arena, graph, graph->inputs.items[i], loaded->dims, &loaded->inputs[i],
                         err))
            return fail_at(err, "input '%s'", node->attrs->name);
        loaded->inputs[i].dtype = urza_input_info(loaded->module, i)->dtype;
        tensor_random(&loaded->inputs[i], node->dtype, node->attrs->name, 0);
        make_legal(graph, i, &loaded->inputs[i]);
        elements_store(graph, i, loaded->dims, loaded->inputs[i].data);
        if (loaded->block)
            use_param(loaded->block, node->attrs->name, loaded->inputs[i].data);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        DLTensor *output = &loaded->outputs[loaded->output_count];
        if (graph_updates_input(graph, i) != UPDATE_NONE)
            continue;
        if (!tensor_make(arena, graph, graph->outputs.items[i].value, loaded->dims, output, err))
            return fail_at(err, "output '%s'", graph->outputs.items[i].name);
        output->dtype = urza_output_info(loaded->module, i)->dtype;
        loaded->output_count++;
    }
    return true;
}

static struct trust trust_of(const urza_load_options *load, struct trusted_keys *keys)
{
    *keys = (struct trusted_keys){load->trusted_keys, load->trusted_key_count};
    bool unsigned_too = load->trust == URZA_TRUST_ALLOW_UNSIGNED;
    return (struct trust){unsigned_too ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE, keys};
}

/* The package of the training step takes the place of the block's, which has its hash. */
static bool use_step(struct loaded *loaded, struct arena *arena, struct error *err)
{
    struct trusted_keys keys;
    struct package_contents *block = ARENA_NEW(arena, struct package_contents);
    const struct trust trust = trust_of(&loaded->load, &keys);
    if (!package_read(loaded->bytes, loaded->size, &trust, arena, block, err))
        return false;
    if (!block->training)
        return fail(err, ERR_UNSUPPORTED,
                    "the package has no backward pass: compile it with --backward");
    loaded->block = block;
    loaded->bytes = block->training;
    loaded->size = block->training_bytes;
    loaded->load.trust = URZA_TRUST_ALLOW_UNSIGNED;
    return true;
}

bool loaded_open(struct loaded *out, const void *bytes, size_t size,
                 const struct profile_options *options, struct arena *arena, struct error *err)
{
    urza_error problem = {.code = 0};
    const uint8_t *text;
    size_t text_size;
    *out = (struct loaded){.bytes = bytes, .size = size, .load = options->load};
    if (options->backward && !use_step(out, arena, err))
        return false;
    out->load.most_trips =
        options->load.most_trips > 0 ? options->load.most_trips : LOOP_TRIED_TRIPS;
    if (urza_load_memory(out->bytes, out->size, &out->load, &out->module, &problem) != 0)
        return fail_as(&problem, err);
    return package_entry(out->bytes, out->size, "graph", &text, &text_size, err) &&
           graph_parse(&out->graph, arena, (const char *)text, text_size, err) &&
           dims_choose(&out->graph.dims, options->dims, out->dims, err) &&
           make_tensors(out, arena, err);
}

bool loaded_call(struct loaded *loaded, struct error *err)
{
    urza_error problem = {.code = 0};
    uint32_t inputs = loaded->graph.inputs.count, outputs = loaded->output_count;
    int code =
        loaded->graph.updates.count > 0
            ? urza_step(loaded->module, loaded->inputs, inputs, loaded->outputs, outputs, &problem)
            : urza_call(loaded->module, loaded->inputs, inputs, loaded->outputs, outputs, NULL,
                        &problem);
    return code == 0 || fail_as(&problem, err);
}

bool loaded_plan(const struct loaded *loaded, struct arena *arena, const struct plan **out,
                 struct error *err)
{
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    struct trusted_keys keys;
    const struct trust trust = trust_of(&loaded->load, &keys);
    const char *target = urza_target(loaded->module);
    *out = NULL;
    if (!package_read(loaded->bytes, loaded->size, &trust, arena, contents, err))
        return false;
    for (uint32_t i = 0; i < contents->target_count; i++)
        if (strcmp(contents->targets[i].name, target) == 0)
            *out = &contents->targets[i].plan;
    return true;
}

void loaded_close(struct loaded *loaded)
{
    urza_unload(loaded->module);
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double median_of(double *values, uint32_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

void print_dims(const struct dim_table *dims, const int64_t *values, char *out, size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < dims->names.count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s=%lld", i > 0 ? "," : "",
                                 dims->names.items[i].name, (long long)values[i]);
}
