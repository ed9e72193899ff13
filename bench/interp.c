/* What the interpreter's REFERENCE mode costs, prim by prim: nanoseconds of one thread per result,
 * and GFLOP/s of products, on exact operands and on operands with errors. Usage: bench-interp
 * [PART-OF-A-NAME] [--threads N] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/interp.h"

#define LINE "f32[1024, 256]"

/* One prim on its operands; the flops of a product, 0 for others. */
static const struct row {
    const char *name, *operands[3], *prim;
    double flops;
} rows[] = {
    {"contract 256^3",
     {"f32[256, 256]", "f32[256, 256]"},
     "contract %1, %2 {batch 0, contract 1} : f32[256, 256]",
     2.0 * 256 * 256 * 256},
    {"contract 12x64x64x512",
     {"f32[12, 64, 512]", "f32[12, 64, 512]"},
     "contract %1, %2 {batch 1, contract 1} : f32[12, 64, 64]",
     2.0 * 12 * 64 * 64 * 512},
    {"contract 1x1024x1024",
     {"f32[1, 1024]", "f32[1024, 1024]"},
     "contract %1, %2 {batch 0, contract 1} : f32[1, 1024]",
     2.0 * 1024 * 1024},
    {"conv 3x3",
     {"f32[1, 64, 28, 28]", "f32[64, 64, 3, 3]"},
     "conv %1, %2 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1, size 3 stride 1 low 1 "
     "high 1 dilation 1 base 1], groups 1} : f32[1, 64, 28, 28]",
     2.0 * 64 * 28 * 28 * 64 * 9},
    {"conv 7x7 stride 2",
     {"f32[1, 3, 112, 112]", "f32[64, 3, 7, 7]"},
     "conv %1, %2 {window [size 7 stride 2 low 3 high 3 dilation 1 base 1, size 7 stride 2 low 3 "
     "high 3 dilation 1 base 1], groups 1} : f32[1, 64, 56, 56]",
     2.0 * 64 * 56 * 56 * 3 * 49},
    {"conv depthwise",
     {"f32[1, 192, 28, 28]", "f32[192, 1, 3, 3]"},
     "conv %1, %2 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1, size 3 stride 1 low 1 "
     "high 1 dilation 1 base 1], groups 192} : f32[1, 192, 28, 28]",
     2.0 * 192 * 28 * 28 * 9},
    {"add", {LINE, LINE}, "add %1, %2 : " LINE, 0},
    {"mul", {LINE, LINE}, "mul %1, %2 : " LINE, 0},
    {"div", {LINE, LINE}, "div %1, %2 : " LINE, 0},
    {"max", {LINE, LINE}, "max %1, %2 : " LINE, 0},
    {"lt", {LINE, LINE}, "lt %1, %2 : bool[1024, 256]", 0},
    {"select", {"bool[1024, 256]", LINE, LINE}, "select %1, %2, %3 : " LINE, 0},
    {"cast f16", {LINE}, "cast %1 : f16[1024, 256]", 0},
    {"cast i32", {LINE}, "cast %1 : i32[1024, 256]", 0},
    {"add i32", {"i32[1024, 256]", "i32[1024, 256]"}, "add %1, %2 : i32[1024, 256]", 0},
    {"neg", {LINE}, "neg %1 : " LINE, 0},
    {"floor", {LINE}, "floor %1 : " LINE, 0},
    {"sqrt", {LINE}, "sqrt %1 : " LINE, 0},
    {"exp", {LINE}, "exp %1 : " LINE, 0},
    {"log", {LINE}, "log %1 : " LINE, 0},
    {"tanh", {LINE}, "tanh %1 : " LINE, 0},
    {"erf", {LINE}, "erf %1 : " LINE, 0},
    {"erfc", {LINE}, "erfc %1 : " LINE, 0},
    {"sin", {LINE}, "sin %1 : " LINE, 0},
    {"pow", {LINE, LINE}, "pow %1, %2 : " LINE, 0},
    {"broadcast", {"f32[256]"}, "broadcast %1 {axes [1]} : " LINE, 0},
    {"transpose", {"f32[256, 1024]"}, "transpose %1 {axes [1, 0]} : " LINE, 0},
    {"slice", {"f32[1100, 300]"}, "slice %1 {start [5, 7], step [1, 1]} : " LINE, 0},
    {"copy", {LINE}, "copy %1 : " LINE, 0},
    {"concat", {"f32[1024, 128]", "f32[1024, 128]"}, "concat %1, %2 {axis 1} : " LINE, 0},
    {"take", {"f32[64, 256]", "i64[1024]"}, "take %1, %2 {axis 0} : " LINE, 0},
    {"gather", {"f32[64, 256]", "i64[1024, 256]"}, "gather %1, %2 {axis 0} : " LINE, 0},
    {"reduce_sum last/256", {"f32[4096, 256]"}, "reduce_sum %1 {axes [1]} : f32[4096]", 0},
    {"reduce_sum first/256", {"f32[256, 4096]"}, "reduce_sum %1 {axes [0]} : f32[4096]", 0},
    {"reduce_max last/256", {"f32[4096, 256]"}, "reduce_max %1 {axes [1]} : f32[4096]", 0},
    {"reduce_max first/256", {"f32[256, 4096]"}, "reduce_max %1 {axes [0]} : f32[4096]", 0},
    {"cum_sum last", {LINE}, "cum_sum %1 {axis 1, exclusive false, reverse false} : " LINE, 0},
    {"cum_sum first", {LINE}, "cum_sum %1 {axis 0, exclusive false, reverse false} : " LINE, 0},
    {"window_sum 3x3",
     {"f32[64, 56, 56]"},
     "window_sum %1 {window [size 3 stride 1 low 1 high 1 dilation 1 base 1, size 3 stride 1 low 1 "
     "high 1 dilation 1 base 1]} : f32[64, 56, 56]",
     0},
    {"window_max 3x3 stride 2",
     {"f32[64, 112, 112]"},
     "window_max %1 {window [size 3 stride 2 low 1 high 1 dilation 1 base 1, size 3 stride 2 low 1 "
     "high 1 dilation 1 base 1]} : f32[64, 56, 56]",
     0},
};

/* Magnitudes of normal numbers, small indices, coins. */
static struct interp_tensor operand_of(struct arena *arena, const struct graph *graph, value_id id)
{
    const struct node *node = graph_node(graph, id);
    struct interp_tensor t = {.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t d = 0; d < node->rank; d++) {
        dim_is_const(&graph->dims, node->shape[d], &t.shape[d]);
        t.count *= t.shape[d];
    }
    t.cells = ARENA_ARRAY(arena, union cell, t.count);
    for (int64_t i = 0; i < t.count; i++) {
        if (dtype_is_float(t.dtype))
            t.cells[i].f = dtype_round(t.dtype, fabs(rng_normal(rng_key(id), (uint64_t)i)));
        else
            t.cells[i].i = rng_u32(rng_key(id), (uint64_t)i) % (t.dtype == DTYPE_BOOL ? 2 : 64);
    }
    return t;
}

static void give_errors(struct arena *arena, struct interp_tensor *t)
{
    if (!dtype_is_float(t->dtype))
        return;
    t->bounds = ARENA_ARRAY(arena, double, t->count);
    for (int64_t i = 0; i < t->count; i++)
        t->bounds[i] = 0x1p-23 * fabs(t->cells[i].f);
}

static void fail_with(const struct row *row, const struct error *err)
{
    fprintf(stderr, "bench: %s: %s: %s\n", row->name, err->place, err->message);
    exit(1);
}

/* Nanoseconds of a run, the least of several. */
static double time_of(const struct row *row, uint32_t threads, bool errors, int64_t *out_count)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    struct interp_tensor in[3], out;
    struct strbuf text;
    uint32_t count = 0;
    double least = INFINITY, total = 0;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    strbuf_printf(&text, "graph \"bench\"\n");
    for (; count < 3 && row->operands[count]; count++)
        strbuf_printf(&text, "%%%u = input \"x%u\" : %s\n", count + 1, count, row->operands[count]);
    strbuf_printf(&text, "%%%u = %s\noutput \"y\" %%%u\n", count + 1, row->prim, count + 1);
    if (!graph_parse(&graph, &arena, text.data, text.size_bytes, &err))
        fail_with(row, &err);
    for (uint32_t i = 0; i < count; i++) {
        in[i] = operand_of(&arena, &graph, graph.inputs.items[i]);
        if (errors)
            give_errors(&arena, &in[i]);
    }
    for (int i = 0; i < 20 && (i < 3 || total < 3e8); i++) {
        struct arena work;
        arena_init(&work);
        uint64_t start = threads > 1 ? clock_ns() : clock_thread_ns();
        if (!interp_run(&graph,
                        &(struct interp_options){.mode = INTERP_REFERENCE, .threads = threads},
                        &(struct interp_arguments){NULL, in, count}, &work, &out, &err))
            fail_with(row, &err);
        double ns = (double)((threads > 1 ? clock_ns() : clock_thread_ns()) - start);
        least = fmin(least, ns);
        total += ns;
        *out_count = out.count;
        arena_release(&work);
    }
    arena_release(&arena);
    return least;
}

int main(int argc, char **argv)
{
    uint32_t threads = 1;
    const char *part = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = (uint32_t)strtoul(argv[++i], NULL, 10);
        else
            part = argv[i];
    }
    printf("%-24s %12s %12s %12s %12s\n", "", "exact ns", "GFLOP/s", "errors ns", "GFLOP/s");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        int64_t count;
        if (!strstr(row->name, part))
            continue;
        double exact = time_of(row, threads, false, &count);
        double errors = time_of(row, threads, true, &count);
        printf("%-24s %12.2f %12.2f %12.2f %12.2f\n", row->name, exact / (double)count,
               row->flops / exact, errors / (double)count, row->flops / errors);
        fflush(stdout);
    }
    return 0;
}
