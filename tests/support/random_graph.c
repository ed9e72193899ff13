#include "random_graph.h"

#include <string.h>

#include "base/checked.h"
#include "base/rng.h"
#include "random_graph_priv.h"

#define MIN_NODES 10
#define MAX_NODES 30
#define MAX_OUTPUTS 6

uint32_t gen_roll(struct gen *gen, uint32_t sides)
{
    return rng_u32(gen->key, gen->counter++) % sides;
}

enum dtype gen_dtype(struct gen *gen)
{
    static const uint8_t dtypes[] = {
        DTYPE_F32, DTYPE_F32, DTYPE_F32, DTYPE_F32,  DTYPE_F32,  DTYPE_F32, DTYPE_F32,  DTYPE_F64,
        DTYPE_F64, DTYPE_F16, DTYPE_F16, DTYPE_BF16, DTYPE_BF16, DTYPE_I64, DTYPE_I32,  DTYPE_I32,
        DTYPE_I16, DTYPE_I8,  DTYPE_U8,  DTYPE_U16,  DTYPE_U32,  DTYPE_U64, DTYPE_BOOL,
    };
    return (enum dtype)dtypes[gen_roll(gen, sizeof dtypes)];
}

dim_id gen_dim(struct gen *gen)
{
    static const uint8_t values[] = {1, 2, 3, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33};
    struct dim_table *dims = &gen->b.graph->dims;
    if (dims->names.count > 0 && gen_roll(gen, 3) == 0)
        return dim_named(dims, gen_roll(gen, dims->names.count));
    if (gen_roll(gen, 40) == 0)
        return dim_const(dims, 0);
    return dim_const(dims, values[gen_roll(gen, sizeof values)]);
}

struct item *gen_pick(struct gen *gen, int kinds, uint32_t min_rank)
{
    static const uint8_t kind_bits[] = {[DTYPE_KIND_FLOAT] = GEN_FLOAT,
                                        [DTYPE_KIND_INT] = GEN_INT,
                                        [DTYPE_KIND_BOOL] = GEN_BOOL,
                                        [DTYPE_KIND_UINT] = GEN_INT};
    for (int attempt = 0; attempt < 12; attempt++) {
        uint32_t a = gen_roll(gen, gen->item_count), b = gen_roll(gen, gen->item_count);
        struct item *item = &gen->items[a > b ? a : b];
        const struct node *node = gen_node(gen, item);
        if ((kind_bits[dtype_kind((enum dtype)node->dtype)] & kinds) != 0 &&
            node->rank >= min_rank) {
            item->used = true;
            return item;
        }
    }
    return NULL;
}

struct item gen_source(struct gen *gen, enum dtype dtype, const dim_id *shape, uint32_t rank)
{
    char name[] = {(char)('a' + gen->source_count / 26 % 26), (char)('a' + gen->source_count % 26),
                   '\0'};
    bool constant = true;
    gen->source_count++;
    for (uint32_t i = 0; i < rank; i++)
        constant = constant && dim_is_const(&gen->b.graph->dims, shape[i], NULL);
    struct item item = {.size = 4, .used = true};
    if (gen->err.code != ERR_NONE)
        return (struct item){0};
    item.value = constant && gen_roll(gen, 2) == 0
                     ? graph_param(gen->b.graph, name, dtype, shape, rank, &gen->err)
                     : graph_input(gen->b.graph, name, dtype, shape, rank, &gen->err);
    return item;
}

struct item gen_match(struct gen *gen, const struct item *like)
{
    const struct node *x = gen_node(gen, like);
    uint32_t first = gen_roll(gen, gen->item_count);
    for (uint32_t i = 0; i < gen->item_count; i++) {
        struct item *item = &gen->items[(first + i) % gen->item_count];
        const struct node *node = gen_node(gen, item);
        if (node->dtype == x->dtype && node->rank == x->rank &&
            memcmp(node->shape, x->shape, x->rank * sizeof x->shape[0]) == 0 &&
            (item->value != like->value || gen_roll(gen, 8) == 0)) {
            item->used = true;
            return *item;
        }
    }
    return gen_source(gen, (enum dtype)x->dtype, x->shape, x->rank);
}

struct item gen_tame(struct gen *gen, const struct item *x, double size)
{
    if (x->size <= size || !dtype_is_float((enum dtype)gen_node(gen, x)->dtype))
        return *x;
    if (gen_roll(gen, 3) == 0 && size >= 1)
        return (struct item){.value = b_scale(&gen->b, x->value, size / x->size), .size = size};
    value_id squashed = b_unary(&gen->b, PRIM_TANH, x->value);
    if (size >= 1)
        return (struct item){.value = squashed, .size = 1};
    return (struct item){.value = b_scale(&gen->b, squashed, size), .size = size};
}

/* Small enough at both sizes, and of few dims. */
static bool acceptable(struct gen *gen, value_id value)
{
    const struct node *node = graph_node(gen->b.graph, value);
    if (node->rank > 5)
        return false;
    for (uint32_t s = 0; s < RANDOM_GRAPH_SIZES; s++) {
        int64_t count = 1, dim;
        for (uint32_t i = 0; i < node->rank; i++)
            if (!dim_eval(&gen->b.graph->dims, node->shape[i], gen->sizes[s], &dim) ||
                !checked_mul_i64(count, dim, &count))
                return false;
        if (count > GEN_ELEMENTS)
            return false;
    }
    return true;
}

static void add_item(struct gen *gen, const struct item *item)
{
    for (uint32_t i = 0; i < gen->item_count; i++)
        if (gen->items[i].value == item->value)
            return;
    if (gen->item_count < GEN_ITEMS)
        gen->items[gen->item_count++] =
            (struct item){.value = item->value, .size = item->size, .used = false};
}

static void step(struct gen *gen)
{
    static const struct {
        gen_maker *make;
        uint32_t weight;
    } makers[] = {
        {gen_unary, 12},  {gen_binary, 14},   {gen_logic, 2},     {gen_compare, 3},
        {gen_select, 3},  {gen_cast, 5},      {gen_reduce, 8},    {gen_arg, 2},
        {gen_scan, 3},    {gen_contract, 6},  {gen_conv, 3},      {gen_window, 3},
        {gen_reshape, 5}, {gen_transpose, 4}, {gen_broadcast, 3}, {gen_slice, 4},
        {gen_pad, 3},     {gen_concat, 3},    {gen_reverse, 2},   {gen_take, 2},
        {gen_gather, 2},  {gen_scatter, 2},   {gen_generate, 1},  {gen_composite, 10},
        {gen_linear, 4},
    };
    uint32_t total = 0, which = 0;
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++)
        total += makers[i].weight;
    for (uint32_t at = gen_roll(gen, total); at >= makers[which].weight; which++)
        at -= makers[which].weight;
    struct item made = makers[which].make(gen);
    gen->err = (struct error){0};
    if (made.value != VALUE_NONE && acceptable(gen, made.value))
        add_item(gen, &made);
}

/* Named dims, with sizes of both calls, and a first input that binds them all. */
static bool begin(struct gen *gen)
{
    struct dim_table *dims = &gen->b.graph->dims;
    uint32_t names = gen_roll(gen, 3), index;
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < names; i++) {
        int64_t by = gen_roll(gen, 4) == 0 ? 4 : 1, least = gen_roll(gen, 5) == 0 ? 0 : 1;
        struct dim_name name = {i == 0 ? "N" : "M", least, 40, by, 0, NULL};
        if (!dim_declare(dims, &name, &index, &gen->err))
            return false;
        for (uint32_t s = 0; s < RANDOM_GRAPH_SIZES; s++)
            gen->sizes[s][i] = by * ((s == 0 ? least : 0) + (by > 1 && s == 0 ? 0 : 1) +
                                     gen_roll(gen, by > 1 ? 6 : 24));
        if (gen->sizes[0][i] < least || gen_roll(gen, 8) == 0)
            gen->sizes[0][i] = (least + by - 1) / by * by;
    }
    uint32_t rank = names;
    for (uint32_t i = 0; i < names; i++)
        shape[i] = dim_named(dims, i);
    if (rank == 0 || gen_roll(gen, 2) == 0)
        shape[rank++] = gen_dim(gen);
    value_id first = graph_input(gen->b.graph, "x", DTYPE_F32, shape, rank, &gen->err);
    add_item(gen, &(struct item){.value = first, .size = 4});
    for (uint32_t extra = gen_roll(gen, 3); extra > 0 && gen->err.code == ERR_NONE; extra--) {
        rank = gen_roll(gen, 4);
        for (uint32_t i = 0; i < rank; i++)
            shape[i] = gen_dim(gen);
        struct item source = gen_source(gen, gen_dtype(gen), shape, rank);
        if (acceptable(gen, source.value))
            add_item(gen, &source);
    }
    return gen->err.code == ERR_NONE;
}

/* What nobody used, and some values in the middle. */
static bool finish(struct gen *gen)
{
    static const char *const names[MAX_OUTPUTS] = {"p", "q", "r", "s", "t", "u"};
    uint32_t count = 0;
    for (uint32_t i = gen->item_count; i-- > 0 && count < MAX_OUTPUTS;) {
        const struct item *item = &gen->items[i];
        bool newest = i + 1 == gen->item_count;
        if (!newest && item->used && gen_roll(gen, 20) != 0)
            continue;
        if (!graph_output(gen->b.graph, names[count++], item->value, &gen->err))
            return false;
    }
    return true;
}

bool random_graph(struct graph *graph, uint64_t seed,
                  int64_t out_sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS], struct error *err)
{
    struct gen gen = {.key = rng_key(seed), .sizes = out_sizes};
    gen.b = (struct builder){.graph = graph, .err = &gen.err};
    bool ok = begin(&gen);
    uint32_t nodes = MIN_NODES + gen_roll(&gen, MAX_NODES - MIN_NODES + 1);
    for (uint32_t i = 0; ok && i < nodes; i++)
        step(&gen);
    ok = ok && finish(&gen);
    if (!ok)
        *err = gen.err;
    return ok && graph_verify(graph, err);
}
