/* The graph of a whole training step. */
#include "compiler/step/step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/grad/grad.h"
#include "compiler/step/step_priv.h"

#define GOOD_STEPS 2000   /* until a dynamic loss scale is doubled */
#define FIRST_SCALE 16    /* its exponent at the beginning */
#define LEAST_SCALE (-16) /* of the state, so that the scale is 1 at least */
#define NORM_EPS 1e-6     /* as torch.nn.utils.clip_grad_norm_ */

#define F16_MAX 65504.0
#define PI 3.14159265358979323846

struct result {
    const char *name; /* of what it updates; NULL: it updates nothing */
    const char *output;
    value_id input, value;
};

struct stepping {
    struct graph *graph;
    struct arena *arena;
    struct builder b;
    struct error *err;
    struct step_text optimizer;
    struct step_options options;
    const struct op_row *row;
    value_id *params, *grads; /* by place in wrt; gradients in f32 or wider */
    uint32_t count, outputs;  /* outputs: of the block, without running statistics */
    enum dtype dtype;         /* of lr and the norm of all gradients */
    value_id t, rate;         /* of this step: its number from 1 on, and the learning rate */
    value_id finite;          /* whether all gradients are; VALUE_NONE: nobody asks */
    value_id scale;           /* of the loss, f32; VALUE_NONE: none */
    VEC(struct result) results;
};

static const char *joined(struct stepping *s, const char *prefix, const char *name)
{
    size_t bytes = strlen(prefix) + strlen(name) + 2;
    char *text = arena_array(s->arena, bytes, 1);
    snprintf(text, bytes, "%s.%s", prefix, name);
    return text;
}

static value_id find_input(const struct graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        if (strcmp(graph_node(graph, graph->inputs.items[i])->attrs->name, name) == 0)
            return graph->inputs.items[i];
    return VALUE_NONE;
}

/* The step's inputs stand beside the block's. */
static bool is_free(struct stepping *s, const char *name)
{
    return find_input(s->graph, name) == VALUE_NONE ||
           fail(s->err, ERR_BLUEPRINT,
                "a step has an input '%.100s' of its own: rename the block's input or parameter",
                name);
}

static value_id new_input(struct stepping *s, const char *name, enum dtype dtype, value_id like)
{
    const struct node *node = like == VALUE_NONE ? NULL : graph_node(s->graph, like);
    if (!is_free(s, name))
        return VALUE_NONE;
    return graph_input(s->graph, name, dtype, node ? node->shape : NULL, node ? node->rank : 0,
                       s->err);
}

/* An output that takes an input's place, unless a gradient is not finite. */
static bool update(struct stepping *s, value_id input, value_id value)
{
    if (input == VALUE_NONE)
        return false;
    const char *name = graph_node(s->graph, input)->attrs->name;
    if (s->finite != VALUE_NONE)
        value = b_select(&s->b, s->finite, value, input);
    const struct result result = {name, joined(s, "new", name), input, value};
    VEC_PUSH(s->arena, &s->results, result);
    return value != VALUE_NONE;
}

static value_id find_output(const struct graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (strcmp(graph->outputs.items[i].name, name) == 0)
            return graph->outputs.items[i].value;
    return VALUE_NONE;
}

/* The input "target" of a loss: numbers of classes, which are along dim 1 of x, or as x. */
static value_id add_target(struct stepping *s, const char *loss, value_id x)
{
    const struct node *node = graph_node(s->graph, x);
    bool classes = strcmp(loss, "cross_entropy") == 0 || strcmp(loss, "nll_loss") == 0;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0, skip = node->rank > 1 ? 1 : 0;
    for (uint32_t i = 0; i < node->rank; i++)
        if (!classes || i != skip)
            shape[rank++] = node->shape[i];
    if (!is_free(s, "target"))
        return VALUE_NONE;
    return graph_input(s->graph, "target", classes ? DTYPE_I64 : (enum dtype)node->dtype, shape,
                       rank, s->err);
}

/* The loss by an operation, of the output that it names, or of the only one. */
static value_id loss_by_op(struct stepping *s, const char *given)
{
    struct step_text text;
    if (!step_text_parse(given, s->arena, &text, s->err))
        return VALUE_NONE;
    const struct op_row *row = op_find(text.name);
    const struct graph *g = s->graph;
    value_id x = text.operand      ? find_output(g, text.operand)
                 : s->outputs == 1 ? g->outputs.items[0].value
                                   : VALUE_NONE;
    value_id out[OP_MAX_OUTPUTS];
    uint32_t count;
    if (!row || strncmp(row->operands, "x target", 8) != 0)
        return b_fail(&s->b, ERR_USAGE,
                      "'%.64s' is no output of the block, and no loss: mse_loss, l1_loss, "
                      "smooth_l1_loss, cross_entropy, nll_loss, binary_cross_entropy_with_logits",
                      text.name);
    if (x == VALUE_NONE && !text.operand)
        return b_fail(&s->b, ERR_USAGE, "the block has %u outputs, say which: %.64s(NAME)",
                      s->outputs, text.name);
    if (x == VALUE_NONE)
        return b_fail(&s->b, ERR_USAGE, "no output is called '%.64s'", text.operand);
    const value_id operands[] = {x, add_target(s, text.name, x)};
    const struct op_arguments arguments = {operands, 2, text.attrs, text.attr_count, true};
    if (operands[1] == VALUE_NONE || !op_expand(&s->b, row, &arguments, out, &count, s->err))
        return VALUE_NONE;
    return out[0];
}

/* Adds the loss to the results. An output's name may be any text. */
static value_id find_loss(struct stepping *s, const char *given)
{
    value_id loss = find_output(s->graph, given ? given : "loss");
    if (loss == VALUE_NONE && !given)
        return b_fail(&s->b, ERR_USAGE,
                      "no output is called 'loss': say --loss NAME, or --loss OPERATION(NAME)");
    if (loss == VALUE_NONE && (loss = loss_by_op(s, given)) == VALUE_NONE)
        return VALUE_NONE;
    const struct node *node = graph_node(s->graph, loss);
    if (!dtype_is_float((enum dtype)node->dtype) || node->rank > 0)
        return b_fail(&s->b, ERR_BLUEPRINT,
                      "the loss is %s with %u dims, expected a float with none",
                      dtype_name((enum dtype)node->dtype), node->rank);
    const struct result result = {.output = "loss", .value = loss};
    VEC_PUSH(s->arena, &s->results, result);
    return loss;
}

static bool find_params(struct stepping *s, const struct step_request *request)
{
    s->count = request->wrt_count;
    s->params = ARENA_ARRAY(s->arena, value_id, s->count);
    s->grads = ARENA_ARRAY(s->arena, value_id, s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        value_id found = find_input(s->graph, request->wrt[i]);
        if (found == VALUE_NONE)
            return fail(s->err, ERR_BLUEPRINT, "no input or parameter is called '%s'",
                        request->wrt[i]);
        if (!dtype_is_float((enum dtype)graph_node(s->graph, found)->dtype))
            return fail(s->err, ERR_BLUEPRINT, "'%s' is no float: it cannot be trained",
                        request->wrt[i]);
        for (uint32_t k = 0; k < i; k++)
            if (s->params[k] == found)
                return fail(s->err, ERR_BLUEPRINT, "'%s' is asked for twice", request->wrt[i]);
        s->params[i] = found;
    }
    return s->count > 0 || fail(s->err, ERR_BLUEPRINT, "the block has no parameters to train");
}

static enum dtype wide(enum dtype dtype)
{
    return dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

/* The exponent of a dynamic scale is a state. */
static bool add_scale(struct stepping *s, value_id *out_state)
{
    struct builder *b = &s->b;
    *out_state = VALUE_NONE;
    if (s->options.dynamic_scale) {
        *out_state = new_input(s, "scale", DTYPE_F32, VALUE_NONE);
        s->scale = b_unary(b, PRIM_EXP2, b_shift(b, *out_state, FIRST_SCALE));
    } else if (s->options.loss_scale > 0) {
        s->scale = b_const(b, DTYPE_F32, s->options.loss_scale);
    } else {
        return true;
    }
    return s->scale != VALUE_NONE;
}

/* Params on which the loss does not depend are not trained, as in PyTorch, where they have no
 * gradient: nothing decays them. */
static void leave_unused(struct stepping *s, value_id loss)
{
    const struct graph *g = s->graph;
    bool *needed = ARENA_ARRAY(s->arena, bool, g->nodes.count);
    uint32_t count = 0;
    needed[loss] = true;
    for (value_id v = loss; v > 0; v--) {
        const struct node *n = graph_node(g, v);
        for (uint32_t i = 0; needed[v] && n->prim != PRIM_DETACH && i < n->operand_count; i++)
            needed[n->operands[i]] = true;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (needed[s->params[i]])
            s->params[count++] = s->params[i];
    s->count = count;
}

static bool add_gradients(struct stepping *s, value_id loss)
{
    struct builder *b = &s->b;
    enum dtype dtype = (enum dtype)graph_node(s->graph, loss)->dtype;
    if (dtype == DTYPE_F16 && s->options.loss_scale > F16_MAX) {
        fail(s->err, ERR_USAGE, "'loss_scale' is %g, and the loss is f16: at most %g",
             s->options.loss_scale, F16_MAX);
        return fail_at(s->err, "--step");
    }
    leave_unused(s, loss);
    if (s->count == 0)
        return fail(s->err, ERR_BLUEPRINT, "the loss depends on nothing that is trained");
    value_id one = s->scale == VALUE_NONE ? b_const(b, dtype, 1) : b_cast(b, s->scale, dtype);
    const struct grad_request request = {&loss, &one, 1, s->params, s->count};
    if (one == VALUE_NONE || !grad_add(b, &request, s->arena, s->grads))
        return false;
    s->dtype = DTYPE_F32;
    for (uint32_t i = 0; i < s->count; i++) {
        enum dtype of = wide((enum dtype)graph_node(s->graph, s->grads[i])->dtype);
        s->dtype = of == DTYPE_F64 ? of : s->dtype;
        s->grads[i] = b_cast(b, s->grads[i], of);
        if (s->scale != VALUE_NONE)
            s->grads[i] = b_div(b, s->grads[i], b_cast(b, s->scale, of));
    }
    return b->err->code == 0;
}

/* The sum of the squares of all gradients. */
static value_id square_norm(struct stepping *s)
{
    struct builder *b = &s->b;
    value_id sum = b_const(b, s->dtype, 0);
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t axes[LIMIT_RANK];
        uint32_t rank = graph_node(s->graph, s->grads[i])->rank;
        for (uint32_t d = 0; d < rank; d++)
            axes[d] = d;
        value_id square = b_mul(b, s->grads[i], s->grads[i]);
        if (rank > 0)
            square = b_reduce(b, PRIM_REDUCE_SUM, square, axes, rank, false);
        sum = b_add(b, sum, b_cast(b, square, s->dtype));
    }
    return sum;
}

/* What is not finite has no finite square sum. */
static bool clip(struct stepping *s, value_id scale_state)
{
    struct builder *b = &s->b;
    if (s->options.clip_norm == 0 && scale_state == VALUE_NONE)
        return true;
    value_id square = square_norm(s), norm = b_unary(b, PRIM_SQRT, square);
    if (s->options.clip_norm > 0) {
        value_id most = b_const(b, s->dtype, s->options.clip_norm);
        value_id factor = b_min_const(b, b_div(b, most, b_shift(b, norm, NORM_EPS)), 1);
        for (uint32_t i = 0; i < s->count; i++) {
            enum dtype dtype = (enum dtype)graph_node(s->graph, s->grads[i])->dtype;
            s->grads[i] = b_mul(b, s->grads[i], b_cast(b, factor, dtype));
        }
        const struct result result = {.output = "grad_norm", .value = norm};
        VEC_PUSH(s->arena, &s->results, result);
    }
    if (scale_state != VALUE_NONE)
        s->finite = b_binary(b, PRIM_LT, square, b_const(b, s->dtype, (double)INFINITY));
    return b->err->code == 0;
}

/* The factor of the learning rate in step t, f64. */
static value_id schedule_factor(struct stepping *s)
{
    struct builder *b = &s->b;
    const struct step_options *o = &s->options;
    value_id t = b_cast(b, s->t, DTYPE_F64), factor = b_const(b, DTYPE_F64, 1);
    if (o->schedule != SCHEDULE_CONSTANT) {
        value_id done = b_scale(b, b_shift(b, t, -1 - o->warmup), 1 / (o->steps - o->warmup));
        done = b_min_const(b, b_max_const(b, done, 0), 1);
        value_id fall = b_shift(b, b_neg(b, done), 1);
        if (o->schedule == SCHEDULE_COSINE)
            fall = b_scale(b, b_shift(b, b_unary(b, PRIM_COS, b_scale(b, done, PI)), 1), 0.5);
        factor = b_shift(b, b_scale(b, fall, 1 - o->floor), o->floor);
    }
    if (o->warmup > 0)
        factor = b_mul(b, factor, b_min_const(b, b_scale(b, t, 1 / o->warmup), 1));
    return factor;
}

/* A word of the optimizer's operands, from the fourth on: t, or a state, which may be optional. */
static bool next_operand(const char **at, const char **name, size_t *size, bool *optional)
{
    *at += strspn(*at, " ");
    *name = *at;
    *size = strcspn(*at, " ");
    *at += *size;
    *optional = *size > 0 && (*name)[*size - 1] == '?';
    *size -= *optional;
    return *size > 0;
}

static bool has_momentum(const struct stepping *s)
{
    for (uint32_t i = 0; i < s->optimizer.attr_count; i++)
        if (strcmp(s->optimizer.attrs[i].name, "momentum") == 0)
            return s->optimizer.attrs[i].i != 0 || s->optimizer.attrs[i].f != 0;
    return false;
}

/* A param in f32 or wider, and "low.W" of a narrow one. */
static value_id master_of(struct stepping *s, value_id param, value_id *out_low)
{
    enum dtype dtype = (enum dtype)graph_node(s->graph, param)->dtype;
    const char *name = graph_node(s->graph, param)->attrs->name;
    *out_low = VALUE_NONE;
    if (wide(dtype) == dtype)
        return param;
    *out_low = new_input(s, joined(s, "low", name), wide(dtype), param);
    return b_add(&s->b, b_cast(&s->b, param, wide(dtype)), *out_low);
}

static bool update_param(struct stepping *s, value_id param, value_id low, value_id master)
{
    enum dtype dtype = (enum dtype)graph_node(s->graph, param)->dtype;
    value_id rounded = b_cast(&s->b, master, dtype);
    if (!update(s, param, rounded))
        return false;
    return low == VALUE_NONE ||
           update(s, low, b_sub(&s->b, master, b_cast(&s->b, rounded, wide(dtype))));
}

static bool step_param(struct stepping *s, uint32_t place)
{
    value_id param = s->params[place], low, states[LIMIT_OPERANDS], out[OP_MAX_OUTPUTS];
    const char *of = graph_node(s->graph, param)->attrs->name;
    enum dtype dtype = wide((enum dtype)graph_node(s->graph, param)->dtype);
    struct op_arguments arguments = {states, 3, s->optimizer.attrs, s->optimizer.attr_count, true};
    uint32_t first = 3, count = 0;
    states[0] = master_of(s, param, &low);
    states[1] = b_cast(&s->b, s->grads[place], dtype);
    states[2] = b_cast(&s->b, s->rate, dtype);
    const char *at = s->row->operands + strlen("w g lr"), *name;
    size_t size;
    bool optional;
    while (next_operand(&at, &name, &size, &optional)) {
        bool is_t = size == 1 && name[0] == 't';
        if (optional && !has_momentum(s))
            continue;
        first += is_t;
        states[arguments.operand_count++] =
            is_t ? s->t
                 : new_input(s, joined(s, arena_strndup(s->arena, name, size), of), dtype, param);
    }
    for (uint32_t i = 0; i < arguments.operand_count; i++)
        if (states[i] == VALUE_NONE)
            return false;
    if (!op_expand(&s->b, s->row, &arguments, out, &count, s->err))
        return fail_at(s->err, "--step");
    bool ok = update_param(s, param, low, out[0]);
    for (uint32_t i = 1; ok && i < count; i++)
        ok = update(s, states[first + i - 1], out[i]);
    return ok;
}

/* The state of a dynamic scale changes where nothing else does. */
static bool step_scale(struct stepping *s, value_id state)
{
    struct builder *b = &s->b;
    if (state == VALUE_NONE)
        return true;
    value_id good = new_input(s, "good", DTYPE_I64, VALUE_NONE), finite = s->finite;
    value_id next = b_shift(b, good, 1), zero = b_const(b, DTYPE_I64, 0);
    value_id full = b_binary(b, PRIM_EQ, next, b_const(b, DTYPE_I64, GOOD_STEPS));
    value_id doubled = b_select(b, full, b_shift(b, state, 1), state);
    value_id halved = b_max_const(b, b_shift(b, state, -1), LEAST_SCALE);
    s->finite = VALUE_NONE;
    return update(s, state, b_select(b, finite, doubled, halved)) &&
           update(s, good, b_select(b, finite, b_select(b, full, zero, next), zero));
}

/* The block's own updates, as running means, go on in a step. */
static bool keep_updates(struct stepping *s, const struct graph *from,
                         const struct step_request *request)
{
    for (uint32_t i = 0; i < request->running_count; i++)
        if (!update(s, find_input(s->graph, request->running[i].param),
                    find_output(s->graph, request->running[i].output)))
            return false;
    for (uint32_t i = 0; i < from->updates.count; i++) {
        const struct graph_update *u = &from->updates.items[i];
        const char *input = graph_node(from, from->inputs.items[u->input])->attrs->name;
        const char *output = from->outputs.items[u->output].name;
        if (!update(s, find_input(s->graph, input), find_output(s->graph, output)))
            return false;
        s->results.items[s->results.count - 1].output = output;
    }
    return true;
}

static bool add_optimizer(struct stepping *s, value_id scale_state, bool reads_step)
{
    struct builder *b = &s->b;
    value_id step =
        reads_step ? find_input(s->graph, "step") : new_input(s, "step", DTYPE_I64, VALUE_NONE);
    s->t = b_shift(b, step, 1);
    value_id lr = new_input(s, "lr", s->dtype, VALUE_NONE);
    s->rate = b_mul(b, b_cast(b, lr, DTYPE_F64), schedule_factor(s));
    if (s->rate == VALUE_NONE)
        return false;
    for (uint32_t i = 0; i < s->count; i++)
        if (!step_param(s, i))
            return false;
    return update(s, step, s->t) && step_scale(s, scale_state);
}

/* The results take the places of the block's outputs. */
static bool give_results(struct stepping *s)
{
    struct graph *g = s->graph;
    g->outputs.count = 0;
    for (uint32_t i = 0; i < s->results.count; i++) {
        const struct result *r = &s->results.items[i];
        struct graph_update update = {.output = i};
        if (!graph_output(g, r->output, r->value, s->err))
            return false;
        while (r->name && g->inputs.items[update.input] != r->input)
            update.input++;
        if (r->name && !graph_update(g, &update, s->err))
            return false;
    }
    return true;
}

static bool has_attr(const struct op_row *row, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = row->attrs; *at; at += strspn(at, " ")) {
        if (strncmp(at, name, size) == 0 && at[size] == ':')
            return true;
        at += strcspn(at, " ");
    }
    return false;
}

/* What is left of the text once the step's options were taken belongs to the operation. */
static bool check_attrs(const struct stepping *s)
{
    for (uint32_t i = 0; i < s->optimizer.attr_count; i++)
        if (!has_attr(s->row, s->optimizer.attrs[i].name))
            return fail(
                s->err, ERR_USAGE,
                "'%.64s' is no attribute of '%s' (%s), and no option of a step (" STEP_OPTIONS ")",
                s->optimizer.attrs[i].name, s->row->name, s->row->attrs);
    return true;
}

static bool find_optimizer(struct stepping *s, const char *text)
{
    if (!step_text_parse(text, s->arena, &s->optimizer, s->err))
        return false;
    s->row = op_find(s->optimizer.name);
    if (!s->row || strncmp(s->row->operands, "w g lr", 6) != 0 || s->optimizer.operand)
        return fail(s->err, ERR_USAGE, "'%.64s' is no optimizer: sgd, adam, adamw, lion, rmsprop",
                    s->optimizer.operand ? s->optimizer.operand : s->optimizer.name);
    return step_options_take(&s->optimizer, &s->options, s->err) && check_attrs(s);
}

bool step_graph(struct graph *to, struct arena *arena, const struct graph *from,
                const struct step_request *request, struct step_spec *out_spec, struct error *err)
{
    struct graph *joint = ARENA_NEW(arena, struct graph);
    struct stepping s = {.graph = joint, .arena = arena, .b = {joint, err}, .err = err};
    s.outputs = from->outputs.count - request->running_count;
    value_id scale_state, loss;
    *err = (struct error){0};
    if ((!find_optimizer(&s, request->optimizer) && !fail_at(err, "--step")) ||
        !grad_block_graph(joint, arena, from, err) ||
        ((loss = find_loss(&s, request->loss)) == VALUE_NONE && !fail_at(err, "--loss")) ||
        !find_params(&s, request) || !add_scale(&s, &scale_state) || !add_gradients(&s, loss) ||
        !clip(&s, scale_state) || !keep_updates(&s, from, request) ||
        !add_optimizer(&s, scale_state, request->reads_step) || !give_results(&s))
        return false;
    const struct step_parts parts = {from,       joint,   s.row,    &s.optimizer,
                                     &s.options, request, s.params, s.count};
    if (out_spec)
        step_describe(&parts, arena, out_spec);
    return graph_copy_live(to, arena, joint, err);
}
