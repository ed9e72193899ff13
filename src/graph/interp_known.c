/* Finds the results of a graph that computes what another one has computed, without its elements.
 *
 * Nodes are numbered in order (interp_memo.h). One that depends on inputs must be known by the
 * numbers of its operands; where one is not, the graph has to be run. What depends on params or
 * constants only is computed where it is not known, since a packed weight that is read as it was
 * has the number of the weight. So no elements are needed but those that such nodes read. */
#include "base/arena.h"
#include "base/error.h"
#include "graph/interp_run_priv.h"

/* How many nodes one behind the other are computed again, because only their numbers were kept. */
#define AGAIN_MOST 64

struct search {
    const struct run *whole;
    struct run run;      /* has its own values, of which nodes release none */
    value_id *last_use;  /* by value: the last node to be numbered that reads its elements */
    VEC(value_id) again; /* values with memory that were computed or loaded once more */
};

static bool is_source(const struct search *s, value_id id)
{
    const struct node *node = graph_node(s->run.graph, id);
    return node->prim == PRIM_INPUT || node->prim == PRIM_PARAM;
}

static void give_back(struct search *s, value_id id)
{
    struct value *value = &s->run.values[id];
    if (!value->owned)
        return;
    give_memory(&s->run, value->tensor.cells);
    give_memory(&s->run, value->tensor.bounds);
    value->owned = false;
    value->tensor.cells = NULL;
    value->tensor.bounds = NULL;
}

/* Whether outputs need a value. */
static bool is_live(const struct search *s, value_id id)
{
    return s->whole->values[id].output || s->whole->values[id].last_use != VALUE_NONE;
}

/* Whether a value has its elements, or can have them loaded. */
static bool has_elements(const struct value *value)
{
    return value->tensor.cells || value->tensor.lazy || value->tensor.count == 0;
}

/* Computes a node that depends on params only, and before it those whose elements it reads. */
static bool compute(struct search *s, value_id id, uint32_t depth)
{
    const struct node *node = graph_node(s->run.graph, id);
    for (uint32_t i = 0; i < node->operand_count; i++) {
        value_id operand = node->operands[i];
        if (has_elements(&s->run.values[operand]))
            continue;
        if (depth == 0 || !compute(s, operand, depth - 1))
            return false;
    }
    if (!run_node(&s->run, id))
        return false;
    for (uint32_t i = 0; depth < AGAIN_MOST && i < node->operand_count; i++)
        VEC_PUSH(s->run.arena, &s->again, node->operands[i]);
    if (depth < AGAIN_MOST)
        VEC_PUSH(s->run.arena, &s->again, id);
    return true;
}

/* Gives back elements that no other node reads. */
static void forget(struct search *s, value_id id)
{
    const struct node *node = graph_node(s->run.graph, id);
    for (uint32_t i = 0; i < s->again.count; i++)
        if (s->last_use[s->again.items[i]] <= id)
            give_back(s, s->again.items[i]);
    s->again.count = 0;
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (s->last_use[node->operands[i]] <= id)
            give_back(s, node->operands[i]);
    if (s->last_use[id] == VALUE_NONE)
        give_back(s, id);
}

/* Gives a node its number; false if it has to be computed and depends on inputs. */
static bool number(struct search *s, value_id id)
{
    struct run *run = &s->run;
    const struct node *node = graph_node(run->graph, id);
    struct value *value = &run->values[id];
    uint32_t numbers[LIMIT_OPERANDS];
    struct op op;
    op_of_node(run, id, &op);
    for (uint32_t i = 0; i < node->operand_count; i++) {
        numbers[i] = run->values[node->operands[i]].number;
        if (numbers[i] == MEMO_UNKNOWN && !value->fixed)
            return false;
    }
    if (!interp_shape(run->graph, run->dim_values, id, &value->tensor, run->err) ||
        !op_eval_dims(&op, run->graph, run->dim_values, run->err))
        return false;
    bool known = memo_number(run->memo, &op, numbers, &value->number);
    if (known)
        memo_set_found(run->memo, interp_memo_found(run->memo) + 1);
    else if (!value->fixed || !compute(s, id, AGAIN_MOST))
        return false;
    forget(s, id);
    return true;
}

/* Numbers the values that outputs need. */
static bool number_all(struct search *s)
{
    for (value_id id = 1; id < s->run.graph->nodes.count; id++)
        if (is_live(s, id) && !is_source(s, id) && !number(s, id))
            return false;
    return true;
}

/* Elements are read by what depends on params only. */
static void find_fixed_uses(struct search *s)
{
    const struct graph *graph = s->run.graph;
    for (value_id id = 1; id < graph->nodes.count; id++) {
        const struct node *node = graph_node(graph, id);
        struct value *value = &s->run.values[id];
        if (is_source(s, id)) {
            *value = s->whole->values[id];
            value->last_use = VALUE_NONE;
            value->output = false;
            continue;
        }
        value->fixed = true;
        for (uint32_t i = 0; i < node->operand_count; i++)
            value->fixed &= s->run.values[node->operands[i]].fixed;
        for (uint32_t i = 0; value->fixed && is_live(s, id) && i < node->operand_count; i++)
            s->last_use[node->operands[i]] = id;
    }
}

bool run_is_known(struct run *run)
{
    const struct graph *graph = run->graph;
    uint32_t found = interp_memo_found(run->memo);
    struct error why;
    struct search s = {.whole = run, .run = *run};
    if (run->loops.items.count > 0)
        return false;
    s.run.err = &why;
    s.run.values = ARENA_ARRAY(run->arena, struct value, graph->nodes.count);
    s.last_use = ARENA_ARRAY(run->arena, value_id, graph->nodes.count);
    find_fixed_uses(&s);
    bool known = number_all(&s);
    for (value_id id = 1; id < graph->nodes.count; id++)
        give_back(&s, id);
    for (uint32_t i = 0; known && i < graph->outputs.count; i++) {
        value_id id = graph->outputs.items[i].value;
        struct value *value = &run->values[id];
        value->number = s.run.values[id].number;
        known = is_source(&s, id) || memo_elements(run->memo, value->number, &value->tensor);
    }
    if (!known)
        memo_set_found(run->memo, found);
    return known;
}
