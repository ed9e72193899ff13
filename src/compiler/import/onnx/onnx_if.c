/* If.
 *
 * A condition that is known chooses the branch here. Otherwise there are three ways:
 *
 *   few cheap nodes    both branches are computed, and `select` takes the elements of one: it is
 *                      fused with what stands around
 *   real work          each branch is the body of a loop of at most one trip (graph/loops.h), whose
 *                      condition is that the branch is taken; its results are that trip's rows,
 *                      which are zeros where it was not made, and `select` takes those of one
 *   loops inside       as the first, but the branch's loops make no trip where it is not taken
 *
 * A loop's body is what depends on its iter. So inside a branch that is one, what comes from
 * outside is read as x[iter], x being seen as [1, …]: a view. Parameters, and what is known, are
 * read as they are, and what depends on nothing else is computed once, when the package is loaded.
 */
#include <onnx.pb-c.h>
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/onnx/onnx_bodies_priv.h"
#include "compiler/import/onnx/onnx_failure_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"
#include "graph/loops.h"

#define FEW_NODES 24 /* of a branch that is computed in any case */
#define DEPTH_MOST 16

/* What a branch asks for. */
struct demand {
    uint32_t nodes;
    bool heavy, loops;
};

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

static void count_nodes(struct onnx *o, Onnx__NodeProto *const *nodes, size_t count, uint32_t depth,
                        struct demand *out)
{
    static const char *const heavy[] = {"MatMul",
                                        "Gemm",
                                        "Conv",
                                        "ConvTranspose",
                                        "Einsum",
                                        "MatMulInteger",
                                        "ConvInteger",
                                        "QLinearMatMul",
                                        "QLinearConv",
                                        "Attention",
                                        "DeformConv",
                                        "MultiHeadAttention",
                                        "GroupQueryAttention",
                                        "FusedMatMul",
                                        "FusedConv",
                                        "MatMulNBits",
                                        "TopK",
                                        "Resize",
                                        "GridSample",
                                        NULL};
    static const char *const loops[] = {"Loop", "Scan", "LSTM", "GRU", "RNN", NULL};
    for (size_t i = 0; i < count && depth < DEPTH_MOST; i++) {
        const Onnx__NodeProto *node = nodes[i];
        const char *type = node->op_type ? node->op_type : "";
        const Onnx__FunctionProto *function =
            onnx_function_find(o, node->domain ? node->domain : "", type);
        if (strcmp(type, "Constant") != 0)
            out->nodes++;
        out->heavy |= is_one_of(type, heavy);
        out->loops |= is_one_of(type, loops);
        if (function)
            count_nodes(o, function->node, function->n_node, depth + 1, out);
        for (size_t a = 0; a < node->n_attribute; a++)
            if (node->attribute[a]->g)
                count_nodes(o, node->attribute[a]->g->node, node->attribute[a]->g->n_node,
                            depth + 1, out);
    }
}

static const Onnx__GraphProto *graph_of(struct onnx_call *c, const char *name)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    if (!attr || !attr->g)
        b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is no graph", name);
    return attr ? attr->g : NULL;
}

/* One branch: its results in out. */
static bool branch(struct onnx_call *c, const char *name, value_id *out)
{
    bool refused = false;
    const Onnx__GraphProto *body = graph_of(c, name);
    if (!body || !onnx_body(c, body, NULL, 0, out, &refused))
        return false;
    c->out_count = (uint32_t)body->n_output;
    return refused ? onnx_refuse(c, "a node of the branch") : true;
}

/* A branch whose loops make no trip unless `taken`. */
static bool guarded_branch(struct onnx_call *c, const char *name, value_id taken, value_id *out)
{
    value_id around = c->o->guard;
    c->o->guard = around == VALUE_NONE ? taken : b_binary(c->b, PRIM_AND, around, taken);
    bool ok = branch(c, name, out);
    c->o->guard = around;
    return ok;
}

/* A branch as a loop of at most one trip. */
struct trip {
    struct onnx_call *c;
    const Onnx__GraphProto *body;
    struct onnx_scope *scope;
    struct strmap own; /* names that nodes and initialisers of the branch make */
    bool *dynamic;     /* by value outside: it depends on an input, or on a loop around */
    value_id outside;  /* the number of values outside */
    value_id iter;
};

static void find_dynamic(struct trip *t)
{
    const struct graph *g = t->c->o->graph;
    t->outside = g->nodes.count;
    t->dynamic = ARENA_ARRAY(t->c->o->arena, bool, t->outside);
    for (value_id v = 1; v < t->outside; v++) {
        const struct node *n = graph_node(g, v);
        t->dynamic[v] = n->prim == PRIM_INPUT || n->prim == PRIM_ITER || n->prim == PRIM_STATE;
        for (uint32_t i = 0; i < n->operand_count; i++)
            t->dynamic[v] |= t->dynamic[n->operands[i]];
    }
}

/* x as a trip sees it. */
static value_id seen(struct trip *t, value_id x)
{
    bool direct = x == VALUE_NONE || x >= t->outside || !t->dynamic[x] ||
                  onnx_known(t->c->o, x)->is_known || onnx_rank(t->c, x) == LIMIT_RANK;
    return direct ? x : b_take(t->c->b, b_unsqueeze(t->c->b, x, 0), t->iter, 0);
}

/* Makes a name of the branch for what a node of it reads from outside. */
static bool import_name(struct trip *t, const char *name)
{
    struct onnx_value value;
    uint32_t index;
    struct error *err = t->c->b->err;
    if (!name || name[0] == '\0' || strmap_find(&t->own, name, &index) ||
        strmap_find(&t->scope->names, name, &index) ||
        !onnx_find(t->c->o, t->c->scope, name, &value) || value.list || value.small ||
        value.refused || value.why)
        return true;
    value_id x = seen(t, value.value);
    return !onnx_failed(t->c) && (x == value.value || onnx_name(t->c->o, t->scope, name, x, err));
}

static void note_own(struct trip *t, const char *name)
{
    if (name && onnx_is_utf8(name))
        strmap_add(&t->own, t->c->o->arena, name, 0);
}

static bool import_names(struct trip *t, Onnx__NodeProto *const *nodes, size_t count,
                         uint32_t depth)
{
    for (size_t i = 0; i < count && depth < DEPTH_MOST; i++) {
        for (size_t k = 0; k < nodes[i]->n_input; k++)
            if (!import_name(t, nodes[i]->input[k]))
                return false;
        for (size_t a = 0; a < nodes[i]->n_attribute; a++) {
            const Onnx__GraphProto *inner = nodes[i]->attribute[a]->g;
            if (!inner)
                continue;
            if (!import_names(t, inner->node, inner->n_node, depth + 1))
                return false;
            for (size_t k = 0; k < inner->n_output; k++)
                if (!import_name(t, inner->output[k]->name))
                    return false;
        }
    }
    return true;
}

static bool translate(struct trip *t, value_id *out)
{
    const Onnx__GraphProto *body = t->body;
    bool refused = false;
    for (size_t i = 0; i < body->n_node; i++)
        for (size_t k = 0; k < body->node[i]->n_output; k++)
            note_own(t, body->node[i]->output[k]);
    for (size_t i = 0; i < body->n_initializer; i++)
        note_own(t, body->initializer[i]->name);
    if (!import_names(t, body->node, body->n_node, 0))
        return false;
    for (size_t i = 0; i < body->n_output; i++)
        if (!import_name(t, body->output[i]->name))
            return false;
    t->c->o->in_loop++;
    bool ok = onnx_body_in(t->c, body, t->scope, out, &refused);
    t->c->o->in_loop--;
    t->c->out_count = (uint32_t)body->n_output;
    return ok && (!refused || onnx_refuse(t->c, "a node of the branch"));
}

/* Which results depend on the trip. */
static void find_inside(const struct trip *t, const value_id *out, uint32_t count, bool *inside)
{
    const struct graph *g = t->c->o->graph;
    struct arena scratch;
    arena_init(&scratch);
    bool *depends = ARENA_ARRAY(&scratch, bool, g->nodes.count);
    depends[t->iter] = true;
    for (value_id v = t->iter + 1; v < g->nodes.count; v++)
        for (uint32_t i = 0; i < graph_node(g, v)->operand_count; i++)
            depends[v] |= depends[graph_node(g, v)->operands[i]];
    for (uint32_t i = 0; i < count; i++)
        inside[i] = depends[out[i]];
    arena_release(&scratch);
}

static bool trip_branch(struct onnx_call *c, const char *name, value_id taken, value_id *out)
{
    struct builder *b = c->b;
    uint32_t number = b_loop_begin(b);
    struct trip t = {.c = c, .body = graph_of(c, name)};
    value_id rows[OP_MAX_OUTPUTS], results[OP_MAX_OUTPUTS + 1];
    bool inside[OP_MAX_OUTPUTS];
    if (!t.body)
        return false;
    t.scope = ARENA_NEW(c->o->arena, struct onnx_scope);
    *t.scope = (struct onnx_scope){.parent = c->scope, .opset = c->scope->opset};
    find_dynamic(&t);
    t.iter = b_iter(b, number);
    if (c->o->guard != VALUE_NONE)
        taken = b_binary(b, PRIM_AND, c->o->guard, taken);
    value_id state = b_state(b, number, 0, taken), next = b_const(b, DTYPE_BOOL, 0);
    if (onnx_failed(c) || !translate(&t, out))
        return false;
    find_inside(&t, out, c->out_count, inside);
    struct loop_spec spec = {.loop = number,
                             .trips = b_dim_const(b, 1),
                             .state = &state,
                             .next = &next,
                             .states = 1,
                             .row = rows,
                             .condition = 1};
    for (uint32_t i = 0; i < c->out_count; i++)
        if (inside[i] && onnx_rank(c, out[i]) < LIMIT_RANK)
            rows[spec.rows++] = out[i];
        else if (inside[i])
            return onnx_refuse(c, "a result of %d dims, of a branch that is chosen at run time",
                               LIMIT_RANK);
    if (spec.rows == 0)
        return true;
    if (!b_loop_end(b, &spec, results))
        return false;
    for (uint32_t i = 0, row = 1; i < c->out_count; i++)
        if (inside[i])
            out[i] = b_squeeze(b, results[row++], 0);
    return !onnx_failed(c);
}

/* Adds an option for each named dim of a known value to the text; false: it has other dims. */
static bool add_dims(const struct onnx *o, const struct known *known, bool *named,
                     struct strbuf *out)
{
    const struct dim_table *dims = &o->graph->dims;
    for (uint32_t i = 0; known->dims && i < known->count; i++) {
        uint32_t name;
        if (dim_is_const(dims, known->dims[i], &(int64_t){0}))
            continue;
        if (!dim_is_name(dims, known->dims[i], &name))
            return false;
        if (!named[name])
            strbuf_printf(out, "--dim %s=SIZE ", dims->names.items[name].name);
        named[name] = true;
    }
    return true;
}

/* Adds the options with which x is known at compile time to the text; false: it hangs on more than
 * small inputs and named dims. */
static bool add_options(struct onnx_call *c, value_id x, struct strbuf *out)
{
    struct onnx *o = c->o;
    bool *needed = ARENA_ARRAY(o->arena, bool, x + 1), named[LIMIT_NAMED_DIMS] = {false};
    needed[x] = true;
    for (value_id v = x; v > VALUE_NONE; v--) {
        const struct node *node = graph_node(o->graph, v);
        const struct known *known = needed[v] ? onnx_known(o, v) : NULL;
        if (!known || (known->is_known && add_dims(o, known, named, out)))
            continue;
        bool input = node->prim == PRIM_INPUT && onnx_is_short(o, v);
        if (known->is_known || node->prim == PRIM_STATE || (!input && node->operand_count == 0))
            return false;
        if (input)
            strbuf_printf(out, "--known %s=VALUE ", node->attrs->name);
        for (uint32_t i = 0; i < node->operand_count; i++)
            needed[node->operands[i]] = true;
    }
    return out->size_bytes > 0;
}

/* How the caller can decide the condition at compile time; NULL: with no option. */
static const char *deciding(struct onnx_call *c)
{
    struct strbuf text;
    strbuf_init(&text, c->o->arena);
    if (!add_options(c, c->in[0], &text))
        return NULL;
    strbuf_printf(&text, "reads one branch of If '%.80s' only", onnx_node_name(c->node));
    return text.data;
}

/* Both branches, and the results of one of them, element by element. */
static bool select_branch(struct onnx_call *c, const char *cure)
{
    struct builder *b = c->b;
    static const char *const names[2] = {"then_branch", "else_branch"};
    value_id results[2][OP_MAX_OUTPUTS];
    uint32_t counts[2];
    value_id condition = b_reshape(b, c->in[0], NULL, 0);
    value_id taken[2] = {condition, b_unary(b, PRIM_NOT, condition)};
    for (uint32_t i = 0; i < 2; i++) {
        struct demand demand = {0};
        const Onnx__GraphProto *body = graph_of(c, names[i]);
        if (!body || onnx_failed(c))
            return false;
        count_nodes(c->o, body->node, body->n_node, 0, &demand);
        bool work = demand.heavy || demand.nodes > FEW_NODES;
        bool ok = c->o->in_loop > 0 || (!demand.loops && !work) ? branch(c, names[i], results[i])
                  : demand.loops ? guarded_branch(c, names[i], taken[i], results[i])
                                 : trip_branch(c, names[i], taken[i], results[i]);
        if (!ok)
            return false;
        counts[i] = c->out_count;
    }
    if (counts[0] != counts[1])
        return b_fail(b, ERR_BLUEPRINT, "the branches have %u and %u outputs", counts[0],
                      counts[1]);
    for (uint32_t i = 0; i < counts[0] && !onnx_failed(c); i++) {
        const struct node *x = graph_node(b->graph, results[0][i]);
        const struct node *y = graph_node(b->graph, results[1][i]);
        if (x->dtype != y->dtype || x->rank != y->rank ||
            memcmp(x->shape, y->shape, x->rank * sizeof *x->shape) != 0)
            return onnx_refuse(
                c, "branches of different shapes, and a condition that is not known%s%s",
                cure ? "; " : "", cure ? cure : "");
        c->out[i] = b_select(b, condition, results[0][i], results[1][i]);
    }
    return !onnx_failed(c);
}

bool onnx_if(struct onnx_call *c)
{
    int64_t condition[1];
    uint32_t count = 0;
    if (!onnx_known(c->o, c->in[0])->is_known) {
        const char *around = c->o->undecided, *cure = deciding(c);
        c->o->undecided = cure ? cure : around;
        bool ok = select_branch(c, c->o->undecided);
        c->o->undecided = around;
        return ok;
    }
    if (!onnx_const_ints(c, 0, condition, 1, &count))
        return false;
    return branch(c, count == 1 && condition[0] != 0 ? "then_branch" : "else_branch", c->out);
}
