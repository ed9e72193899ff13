#include "compiler/ops/ops.h"
#include "random_graph_priv.h"

/* Ops of one float operand whose attributes have defaults. */
static const struct composite {
    const char *name;
    double size; /* of the result; 0: the operand's */
    uint32_t min_rank;
} composites[] = {
    {"relu", 0, 0},        {"gelu", 0, 0},         {"silu", 0, 0},       {"mish", 0, 0},
    {"hardswish", 0, 0},   {"sigmoid", 1, 0},      {"logsigmoid", 0, 0}, {"softsign", 1, 0},
    {"softmax", 1, 1},     {"log_softmax", 20, 1}, {"rms_norm", 4, 1},   {"layer_norm", 4, 1},
    {"softplus", 0, 0},    {"selu", 0, 0},         {"elu", 0, 0},        {"leaky_relu", 0, 0},
    {"hardsigmoid", 1, 0}, {"relu6", 6, 0},        {"tril", 0, 2},       {"triu", 0, 2},
    {"logsumexp", 10, 1},  {"sort", 0, 1},         {"flip", 0, 1},       {"square", 16, 0},
    {"celu", 0, 0},        {"softshrink", 0, 0},   {"mean", 0, 1},       {"glu", 0, 1},
};

struct item gen_composite(struct gen *gen)
{
    const struct composite *row =
        &composites[gen_roll(gen, sizeof composites / sizeof composites[0])];
    const struct item *picked = gen_pick(gen, GEN_FLOAT, row->min_rank);
    const struct op_row *op = op_find(row->name);
    value_id out[OP_MAX_OUTPUTS];
    uint32_t count = 0;
    if (!picked || !op)
        return (struct item){0};
    struct item x = gen_tame(gen, picked, 8);
    if (x.value == VALUE_NONE ||
        !op_expand(&gen->b, op, &(struct op_arguments){&x.value, 1, NULL, 0, false}, out, &count,
                   &gen->err))
        return (struct item){0};
    bool same_dtype = gen_node(gen, &x)->dtype == graph_node(gen->b.graph, out[0])->dtype;
    return (struct item){.value = out[gen_roll(gen, count)],
                         .size = row->size > 0 || !same_dtype ? row->size : x.size};
}

/* linear with new weights, and a bias now and then. */
struct item gen_linear(struct gen *gen)
{
    const struct item *picked = gen_pick(gen, GEN_FLOAT, 1);
    const struct op_row *op = op_find("linear");
    value_id out[OP_MAX_OUTPUTS], in[3] = {VALUE_NONE, VALUE_NONE, VALUE_NONE};
    uint32_t count = 0;
    if (!picked || !op)
        return (struct item){0};
    struct item x = gen_tame(gen, picked, 4);
    if (x.value == VALUE_NONE)
        return x;
    const struct node *node = gen_node(gen, &x);
    dim_id shape[2] = {gen_dim(gen), node->shape[node->rank - 1]};
    enum dtype dtype = (enum dtype)node->dtype;
    in[0] = x.value;
    in[1] = gen_source(gen, dtype, shape, 2).value;
    if (gen_roll(gen, 2) == 0)
        in[2] = gen_source(gen, dtype, shape, 1).value;
    if (in[1] == VALUE_NONE ||
        !op_expand(&gen->b, op, &(struct op_arguments){in, 3, NULL, 0, false}, out, &count,
                   &gen->err))
        return (struct item){0};
    return (struct item){.value = out[0], .size = 16 * x.size};
}
