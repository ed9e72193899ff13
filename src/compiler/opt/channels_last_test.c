/* Storing images channels last changes no bit of a network's results, and images between
 * convolutions are stored channels last. */
#include <stdio.h>

#include "compiler/opt/opt_test_util.h"
#include "compiler/target/target.h"

struct net {
    struct arena arena;
    struct graph graph;
    struct error err;
    struct builder b;
    uint32_t params;
    value_id x;
};

static void begin(struct net *n)
{
    memset(n, 0, sizeof *n);
    arena_init(&n->arena);
    graph_init(&n->graph, &n->arena);
    n->b = (struct builder){.graph = &n->graph, .err = &n->err};
}

static value_id source(struct net *n, bool param, uint32_t rank, const int64_t *shape)
{
    char name[16];
    dim_id dims[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = dim_const(&n->graph.dims, shape[i]);
    snprintf(name, sizeof name, "%s%u", param ? "w" : "x", n->params++);
    return param ? graph_param(&n->graph, name, DTYPE_F32, dims, rank, &n->err)
                 : graph_input(&n->graph, name, DTYPE_F32, dims, rank, &n->err);
}

static int64_t dim_of(struct net *n, uint32_t axis)
{
    int64_t value = 0;
    assert_true(dim_is_const(&n->graph.dims, graph_node(&n->graph, n->x)->shape[axis], &value));
    return value;
}

static void conv(struct net *n, int64_t out, int64_t size, int64_t stride, int64_t pad,
                 int64_t groups)
{
    int64_t channels = dim_of(n, 1);
    struct window w[LIMIT_RANK] = {{.size = size,
                                    .stride = stride,
                                    .low = pad,
                                    .high = pad,
                                    .dilation = 1,
                                    .base_dilation = 1}};
    w[1] = w[0];
    value_id weights = source(n, true, 4, (int64_t[]){out, channels / groups, size, size});
    n->x = b_conv(&n->b, n->x, weights, w, 2, groups);
}

static void bias(struct net *n)
{
    n->x = b_add(&n->b, n->x, source(n, true, 4, (int64_t[]){1, dim_of(n, 1), 1, 1}));
}

static void relu(struct net *n)
{
    n->x = b_max_const(&n->b, n->x, 0);
}

static void pool(struct net *n)
{
    struct window w[LIMIT_RANK] = {
        {.size = 2, .stride = 2, .low = dim_of(n, 2) % 2, .dilation = 1, .base_dilation = 1}};
    w[1] = w[0];
    w[1].low = dim_of(n, 3) % 2;
    n->x = b_window(&n->b, PRIM_WINDOW_MAX, n->x, w, 2);
}

static struct graph passed(struct net *n)
{
    struct graph to, live, again, same;
    if (!graph_output(&n->graph, "y", n->x, &n->err) || !graph_verify(&n->graph, &n->err) ||
        !pass_channels_last(&to, &n->arena, &n->graph, target_at(2), &n->err) ||
        !graph_verify(&to, &n->err) || !graph_copy_live(&live, &n->arena, &to, &n->err) ||
        !pass_channels_last(&again, &n->arena, &live, target_at(2), &n->err) ||
        !graph_copy_live(&same, &n->arena, &again, &n->err))
        fail_msg("%s: %s\n%s", n->err.place, n->err.message, graph_text(&n->graph, &n->arena));
    assert_string_equal(graph_text(&same, &n->arena), graph_text(&live, &n->arena));
    expect_same_bits(run_graph(&n->graph, INTERP_REFERENCE, NULL, false, 7, &n->arena),
                     run_graph(&live, INTERP_REFERENCE, NULL, false, 7, &n->arena),
                     graph_text(&live, &n->arena));
    return live;
}

/* Expects channels last for every stored image but inputs and outputs. */
static void expect_channels_last(struct net *n, const struct graph *graph, int64_t channels)
{
    struct partition p;
    uint32_t seen = 0;
    partition_graph(graph, &n->arena, &p);
    for (uint32_t i = 0; i < p.groups.count; i++) {
        const struct node *root = graph_node(graph, p.groups.items[i].root);
        int64_t last = 0;
        if (p.groups.items[i].prepare || p.groups.items[i].root == graph->outputs.items[0].value)
            continue;
        assert_true(dim_is_const(&graph->dims, root->shape[root->rank - 1], &last));
        assert_int_equal(last, channels);
        seen++;
    }
    assert_true(seen > 0);
}

static void networks_convert_at_their_borders(void **state)
{
    (void)state;
    struct net n;
    begin(&n);
    value_id input = n.x = source(&n, false, 4, (int64_t[]){2, 24, 6, 7});
    conv(&n, 40, 1, 1, 0, 1);
    bias(&n);
    relu(&n);
    conv(&n, 40, 3, 1, 1, 40);
    bias(&n);
    relu(&n);
    conv(&n, 40, 3, 1, 1, 1);
    relu(&n);
    conv(&n, 24, 1, 1, 0, 1);
    bias(&n);
    n.x = b_add(&n.b, n.x, input);
    struct graph out = passed(&n);
    expect_channels_last(&n, &out, 40);
    assert_int_equal(count_prim(&out, PRIM_CONTRACT), 2);
    assert_int_equal(count_prim(&out, PRIM_CONV), 2);
    arena_release(&n.arena);
}

static void a_lone_convolution_stays(void **state)
{
    (void)state;
    struct net n;
    begin(&n);
    n.x = source(&n, false, 4, (int64_t[]){1, 16, 6, 6});
    conv(&n, 32, 3, 1, 1, 1);
    relu(&n);
    struct graph out = passed(&n);
    assert_int_equal(count_prim(&out, PRIM_TRANSPOSE) + count_prim(&out, PRIM_COPY), 0);
    arena_release(&n.arena);
}

static void groups_of_channels_get_them_first(void **state)
{
    (void)state;
    struct net n;
    begin(&n);
    n.x = source(&n, false, 4, (int64_t[]){1, 16, 5, 5});
    conv(&n, 32, 3, 1, 1, 1);
    relu(&n);
    conv(&n, 32, 3, 2, 1, 1);
    conv(&n, 32, 3, 1, 1, 4);
    struct graph out = passed(&n);
    const struct node *last = graph_node(&out, out.outputs.items[0].value);
    assert_int_equal(last->prim, PRIM_CONV);
    assert_int_equal(graph_node(&out, last->operands[0])->prim, PRIM_COPY);
    arena_release(&n.arena);
}

static void random_layer(struct net *n, uint64_t key, uint64_t at)
{
    uint32_t pick = rng_u32(key, at) % 12, odd = rng_u32(key, at + 1) % 3;
    int64_t c = dim_of(n, 1), h = dim_of(n, 2), w = dim_of(n, 3);
    dim_id zero = b_dim_const(&n->b, 0), flat[3], whole[4];
    for (uint32_t i = 0; i < 4; i++)
        whole[i] = graph_node(&n->graph, n->x)->shape[i];
    switch (pick) {
    case 0: conv(n, 8 + 8 * odd, 1, 1, 0, 1); break;
    case 1: conv(n, 8 + 8 * odd, 3, 1 + odd % 2, 1, 1); break;
    case 2: conv(n, c, 3, 1, 1, c); break;
    case 3: conv(n, 2 * c < 64 ? 2 * c : c, 3, 1, 1, c % 4 == 0 ? 4 : 1); break;
    case 4: conv(n, 3, 1, 1, 0, 1); break; /* too few channels for vectors */
    case 5: pool(n); break;
    case 6: bias(n); break;
    case 7: n->x = b_slice(&n->b, n->x, 2, zero, b_dim_const(&n->b, h > 1 ? h - 1 : h), 1); break;
    case 8: n->x = b_concat(&n->b, (value_id[]){n->x, b_neg(&n->b, n->x)}, 2, odd ? 1 : 3); break;
    case 9:
        flat[0] = whole[0], flat[1] = whole[1], flat[2] = b_dim_const(&n->b, h * w);
        n->x = b_reshape(&n->b, b_neg(&n->b, b_reshape(&n->b, n->x, flat, 3)), whole, 4);
        break;
    case 10: n->x = b_reverse(&n->b, n->x, 1 + odd); break;
    default:
        n->x =
            b_mul(&n->b, n->x, b_reduce(&n->b, PRIM_REDUCE_MAX, n->x, (int64_t[]){2, 3}, 2, true));
    }
}

static void random_networks_keep_every_bit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 120; seed++) {
        struct net n;
        begin(&n);
        n.x = source(&n, false, 4, (int64_t[]){1 + (int64_t)seed % 2, 8, 5, 4});
        for (uint64_t i = 0; i < 6 && dim_of(&n, 1) <= 64 && dim_of(&n, 3) <= 16; i++)
            random_layer(&n, rng_key(seed), 2 * i);
        passed(&n);
        arena_release(&n.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_convert_at_their_borders),
        cmocka_unit_test(a_lone_convolution_stays),
        cmocka_unit_test(groups_of_channels_get_them_first),
        cmocka_unit_test(random_networks_keep_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
