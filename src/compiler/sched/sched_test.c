/* No schedule changes the results of a nest. nest_eval runs loops of every kind in order, so
 * results must agree bit for bit; the merging of lanes is tested in codegen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/loop/text.h"
#include "compiler/lower/lowered.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include <cmocka.h>

/* One kernel of an example, with its results before any step. */
struct trial {
    struct lowered *l;
    uint32_t kernel;
    struct nest nest;
    void *arguments[LIMIT_KERNEL_BUFFERS];
    size_t bytes;
    void *before;
};

static const char *text_of(struct arena *arena, const struct nest *nest)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    nest_print(nest, &out);
    return out.data;
}

/* The tree of statements as bytes: every field, expressions by id, because text repeats shared
 * subexpressions and can be very long. */
static void add_tree(const struct nest *nest, const struct block *block, struct strbuf *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        strbuf_printf(out, "%u %u %u %u %u %u %u %u %u %u %u", s->kind, s->loop_kind,
                      s->independent, s->lanes, s->cond, s->local, s->combine, s->value, s->buffer,
                      s->index, s->guard);
        if (s->kind == STMT_FOR)
            strbuf_printf(out, " %u %s %u", s->var, nest->vars.items[s->var].name,
                          nest->vars.items[s->var].extent);
        strbuf_puts(out, "{");
        add_tree(nest, &s->body, out);
        strbuf_puts(out, "}{");
        add_tree(nest, &s->orelse, out);
        strbuf_puts(out, "}");
    }
}

static const char *tree_of(struct arena *arena, const struct nest *nest)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    add_tree(nest, &nest->body, &out);
    for (uint32_t i = 0; i < nest->buffers.count; i++)
        strbuf_printf(&out, " %u", nest->buffers.items[i].stream);
    return out.data;
}

static bool has_jam(const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if ((s->kind == STMT_FOR && s->loop_kind == LOOP_JAM) || has_jam(&s->body) ||
            has_jam(&s->orelse))
            return true;
    }
    return false;
}

static const char *schedule_text(struct arena *arena, const struct schedule *schedule)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    sched_print(schedule, &out);
    return out.data;
}

static void trial_begin(struct trial *t, struct lowered *l, uint32_t kernel)
{
    struct error err = {0};
    *t = (struct trial){.l = l, .kernel = kernel};
    assert_true(lowered_again(l, kernel, &t->nest, &err));
    lowered_arguments(l, kernel, t->arguments);
    t->bytes = l->bytes[nest_argument(&t->nest, 0)->value];
    if (!nest_eval(&t->nest, t->arguments, l->example.dim_values, true, &err))
        fail_msg("%s: %s", err.place, err.message);
    t->before = arena_memdup(&l->arena, t->arguments[0], t->bytes);
}

/* Expects the results from before the steps, whatever the output's memory held. */
static void expect_same(struct trial *t, const struct nest *nest, const char *what)
{
    struct error err = {0};
    memset(t->arguments[0], 0xa5, t->bytes);
    bool ok = nest_eval(nest, t->arguments, t->l->example.dim_values, true, &err);
    if (!ok || memcmp(t->arguments[0], t->before, t->bytes) != 0)
        fail_msg("%s, after '%s': %s\n%s", t->l->example.row->name, what,
                 ok ? "another result" : err.message, text_of(&t->l->arena, nest));
}

/* The schedule as text, parsed back and replayed on new nests, gives one nest with the same
 * results. (Its text may have terms of sums in another order than the nest on which the steps were
 * tried.) */
static void expect_replay(struct trial *t, const struct schedule *schedule)
{
    struct error err = {0};
    struct schedule parsed;
    struct nest fresh, again;
    struct arena *arena = &t->l->arena;
    const char *text = schedule_text(arena, schedule);
    if (!sched_parse(&parsed, arena, text, &err) || !lowered_again(t->l, t->kernel, &fresh, &err) ||
        !sched_replay(&fresh, &parsed, &err) || !lowered_again(t->l, t->kernel, &again, &err) ||
        !sched_replay(&again, schedule, &err))
        fail_msg("'%s': %s: %s", text, err.place, err.message);
    assert_string_equal(schedule_text(arena, &parsed), text);
    assert_string_equal(tree_of(arena, &fresh), tree_of(arena, &again));
    expect_same(t, &fresh, text);
}

static void expect_jam_keeps(struct trial *t, const char *what)
{
    nest_expand_jam(&t->nest);
    assert_false(has_jam(&t->nest.body));
    expect_same(t, &t->nest, what);
}

/* Names of all loops of the nest. */
static void loop_names(const struct nest *nest, const struct block *block, const char **names,
                       uint32_t *count)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR)
            names[(*count)++] = nest->vars.items[s->var].name;
        loop_names(nest, &s->body, names, count);
        loop_names(nest, &s->orelse, names, count);
    }
}

static struct step random_step(const struct nest *nest, uint64_t key, uint64_t *counter)
{
    static const int64_t numbers[] = {2, 4, 3, 8, 16, 5, 1, 0, -1, 7, 600, 64};
    const char *names[NEST_MAX_VARS];
    uint32_t count = 0;
    struct step step = {.kind = (uint8_t)(1 + rng_u32(key, (*counter)++) % (STEP_COUNT - 1))};
    loop_names(nest, &nest->body, names, &count);
    uint32_t at = count ? rng_u32(key, (*counter)++) % count : 0;
    snprintf(step.loop, sizeof step.loop, "%s", count ? names[at] : "none");
    if (step.kind == STEP_FUSE || step.kind == STEP_SWAP || step.kind == STEP_SUMS)
        snprintf(step.other, sizeof step.other, "%s",
                 at + 1 < count && rng_u32(key, (*counter)++) % 8 ? names[at + 1] : "other");
    if (step.kind == STEP_SPLIT || step.kind == STEP_TILE || step.kind == STEP_CLAMP ||
        step.kind == STEP_PACK || step.kind == STEP_VECTOR || step.kind == STEP_PREFETCH ||
        step.kind == STEP_STREAM)
        step.number = numbers[rng_u32(key, (*counter)++) % (sizeof numbers / sizeof *numbers)];
    if (step.kind == STEP_PREFETCH || step.kind == STEP_STREAM)
        snprintf(step.kind == STEP_STREAM ? step.loop : step.other, sizeof step.other, "%s",
                 nest->buffers.items[rng_u32(key, (*counter)++) % nest->buffers.count].name);
    if (step.kind == STEP_CLAMP && step.number > 16) /* legal, but it would run for very long */
        step.number = 16;
    return step;
}

static uint32_t random_schedule(struct trial *t, uint64_t key, uint32_t length)
{
    struct schedule taken = {0};
    struct arena *arena = &t->l->arena;
    uint64_t counter = 0;
    for (uint32_t i = 0; i < length; i++) {
        struct error err = {0};
        struct step step = random_step(&t->nest, key, &counter);
        const char *before = tree_of(arena, &t->nest);
        if (!sched_apply(&t->nest, &step, NULL, &err)) {
            assert_int_equal(err.code, ERR_UNSUPPORTED);
            assert_string_equal(tree_of(arena, &t->nest), before);
            continue;
        }
        VEC_PUSH(arena, &taken.steps, step);
        if (!nest_verify(&t->nest, &err))
            fail_msg("%s, after '%s': %s", t->l->example.row->name, schedule_text(arena, &taken),
                     err.message);
    }
    const char *text = schedule_text(arena, &taken);
    expect_same(t, &t->nest, text);
    expect_replay(t, &taken);
    expect_jam_keeps(t, text);
    return taken.steps.count;
}

typedef void visitor(struct lowered *l, uint32_t kernel, uint64_t number);

/* Every kernel of an example of every op, every other one with symbolic sizes. */
static uint32_t each_kernel(visitor *visit, uint64_t seed, int64_t max_dim)
{
    const struct op_row *row;
    uint32_t number = 0;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            struct lowered l;
            struct error err = {0};
            if (!lowered_build(&l, row,
                               &(struct op_example_request){index, seed + number, max_dim,
                                                            DTYPE_F32, (number + seed) % 2},
                               target_at(2), &err) ||
                !lowered_evaluate(&l, &err))
                fail_msg("%s: %s: %s", row->name, err.place, err.message);
            for (uint32_t k = 0; k < l.kernel_count; k++)
                visit(&l, k, seed + number++);
            lowered_release(&l);
        }
    }
    return number;
}

static void try_random(struct lowered *l, uint32_t kernel, uint64_t number)
{
    struct trial t;
    trial_begin(&t, l, kernel);
    random_schedule(&t, rng_key(number), number % 16 == 0 ? 40 : 6);
}

static void random_steps_keep_results(void **state)
{
    (void)state;
    assert_true(each_kernel(try_random, 0, 6) > 250);
}

static void expect_sizes(struct trial *t)
{
    struct error err = {0};
    struct sched_sizes sizes;
    struct dim_table *dims = &t->l->graph.dims;
    const int64_t *values = t->l->example.dim_values;
    int64_t extent, work, scratch;
    if (!sched_measure(&t->nest, dims, &sizes, &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_true(dim_eval(dims, sizes.extent, values, &extent) && extent >= 0);
    assert_true(dim_eval(dims, sizes.work, values, &work) && work >= 0);
    assert_true(dim_eval(dims, sizes.scratch_bytes, values, &scratch) && scratch >= 0);
}

static void try_heuristic(struct lowered *l, uint32_t kernel, uint64_t number)
{
    struct error err = {0};
    (void)number;
    for (uint32_t i = 0; target_at(i); i++) {
        const struct sched_hint hint = {0};
        struct schedule schedule;
        struct trial t;
        trial_begin(&t, l, kernel);
        sched_heuristic(&t.nest, &hint, target_at(i), &schedule);
        const char *text = schedule_text(&l->arena, &schedule);
        if (!nest_verify(&t.nest, &err))
            fail_msg("%s, after '%s': %s", l->example.row->name, text, err.message);
        if (schedule.refused.count > 0)
            fail_msg("%s, after '%s': a step was wanted and %s", l->example.row->name, text,
                     schedule.refused.items[0].why);
        expect_same(&t, &t.nest, text);
        expect_replay(&t, &schedule);
        expect_sizes(&t);
        expect_jam_keeps(&t, text);
    }
}

static void heuristics_keep_results(void **state)
{
    (void)state;
    each_kernel(try_heuristic, 7, 4);
    each_kernel(try_heuristic, 2002, 11);
}

/* A config of the space, or one with arbitrary numbers. */
static struct config random_config(struct scheduling *s, uint64_t key)
{
    struct config space[64], config;
    uint32_t count = sched_space(s, space, 64);
    sched_default(s, &config);
    assert_true(count >= 1 && config_equal(&space[0], &config));
    config = space[rng_u32(key, 0) % count];
    for (uint32_t i = 0; rng_u32(key, 1) % 3 == 0 && i < CONFIG_COUNT; i++)
        config.value[i] = (int32_t)(rng_u32(key, 2 + i) % 20);
    return config;
}

static void try_config(struct lowered *l, uint32_t kernel, uint64_t number)
{
    struct error err = {0};
    const struct sched_hint hint = {0};
    struct schedule schedule;
    struct trial t;
    trial_begin(&t, l, kernel);
    struct scheduling *s = sched_begin(&t.nest, &hint, target_at((uint32_t)(number % 3)));
    struct config config = random_config(s, rng_key(number));
    sched_finish(s, &config, &schedule);
    const char *text = schedule_text(&l->arena, &schedule);
    if (!nest_verify(&t.nest, &err))
        fail_msg("%s, after '%s': %s", l->example.row->name, text, err.message);
    expect_same(&t, &t.nest, text);
    expect_replay(&t, &schedule);
    expect_jam_keeps(&t, text);
}

static void configs_keep_results(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 3; round++)
        each_kernel(try_config, 31 * round, round == 2 ? 17 : 7);
}

/* Hand-made nests: out[i0, i1] = x[i0, i1]·2 over [R, C], and row sums. */
struct hand {
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    uint32_t rows, columns;
    int64_t values[2];
};

static void hand_init(struct hand *h, int64_t rows, int64_t columns)
{
    struct error err = {0};
    arena_init(&h->arena);
    dim_table_init(&h->dims, &h->arena);
    assert_true(dim_declare(&h->dims,
                            &(struct dim_name){.name = "R", .min = 0, .max = 50, .multiple_of = 1},
                            &h->rows, &err));
    assert_true(dim_declare(&h->dims,
                            &(struct dim_name){.name = "C", .min = 1, .max = 50, .multiple_of = 1},
                            &h->columns, &err));
    h->values[0] = rows;
    h->values[1] = columns;
    nest_init(&h->nest, &h->arena, &h->dims, "hand");
}

static void buffer(struct nest *n, const char *name, enum buffer_role role, expr_id elements)
{
    nest_buffer(n,
                &(struct nest_buffer){
                    .name = name, .dtype = DTYPE_F32, .role = (uint8_t)role, .elements = elements});
}

/* Symbolic loops i0 < R, i1 < C; or constant ones when constant is set. */
static void hand_scale(struct hand *h, bool constant)
{
    struct nest *n = &h->nest;
    expr_id R = constant ? index_const(n, h->values[0]) : expr_dim(n, dim_named(&h->dims, h->rows));
    expr_id C =
        constant ? index_const(n, h->values[1]) : expr_dim(n, dim_named(&h->dims, h->columns));
    buffer(n, "out", ROLE_OUT, index_mul(n, R, C));
    buffer(n, "x", ROLE_IN, index_mul(n, R, C));
    uint32_t i0 = nest_var(n, "i0", OVER_NONE, R), i1 = nest_var(n, "i1", OVER_NONE, C);
    expr_id at = index_add(n, index_mul(n, expr_var(n, i0), C), expr_var(n, i1));
    expr_id v = expr_load(n, 1, at, EXPR_NONE);
    struct stmt *outer = stmt_for(n, i0, true), *inner = stmt_for(n, i1, true);
    block_add(n, &inner->body, stmt_store(n, 0, at, expr_binary(n, EXPR_ADD, v, v), EXPR_NONE));
    block_add(n, &outer->body, inner);
    block_add(n, &n->body, outer);
}

/* tops: the largest of all partial sums, instead of the last. */
static void hand_sums(struct hand *h, bool tops)
{
    struct nest *n = &h->nest;
    expr_id R = expr_dim(n, dim_named(&h->dims, h->rows)),
            C = expr_dim(n, dim_named(&h->dims, h->columns));
    buffer(n, "out", ROLE_OUT, R);
    buffer(n, "x", ROLE_IN, index_mul(n, R, C));
    uint32_t i = nest_var(n, "i", OVER_NONE, R), k = nest_var(n, "k", OVER_NONE, C),
             acc = nest_local(n, "acc", DTYPE_F32);
    expr_id at = index_add(n, index_mul(n, expr_var(n, i), C), expr_var(n, k));
    struct stmt *outer = stmt_for(n, i, true), *inner = stmt_for(n, k, false);
    block_add(n, &inner->body, stmt_update(n, acc, COMBINE_SUM, expr_load(n, 1, at, EXPR_NONE)));
    block_add(n, &outer->body, stmt_local(n, acc, expr_const(n, DTYPE_F32, 0)));
    if (tops) {
        uint32_t top = nest_local(n, "top", DTYPE_F32);
        block_add(n, &outer->body, stmt_local(n, top, expr_const(n, DTYPE_F32, 0)));
        block_add(n, &inner->body, stmt_update(n, top, COMBINE_MAX, expr_local(n, acc)));
        acc = top;
    }
    block_add(n, &outer->body, inner);
    block_add(n, &outer->body, stmt_store(n, 0, expr_var(n, i), expr_local(n, acc), EXPR_NONE));
    block_add(n, &n->body, outer);
}

enum hand_kind { HAND_SCALE, HAND_SCALE_CONSTANT, HAND_SUMS, HAND_TOPS };

static void hand_make(struct hand *h, enum hand_kind kind, int64_t rows, int64_t columns)
{
    hand_init(h, rows, columns);
    if (kind == HAND_SUMS || kind == HAND_TOPS)
        hand_sums(h, kind == HAND_TOPS);
    else
        hand_scale(h, kind == HAND_SCALE_CONSTANT);
}

/* Runs the schedule on the nest and compares all of out. */
static void expect_legal(enum hand_kind kind, const char *text, int64_t rows, int64_t columns)
{
    struct hand plain, h;
    struct error err = {0};
    struct schedule schedule;
    static float x[2500], out[2500], expected[2500];
    hand_make(&plain, kind, rows, columns);
    hand_make(&h, kind, rows, columns);
    for (uint32_t i = 0; i < 2500; i++) {
        x[i] = (float)rng_uniform(9, i);
        out[i] = expected[i] = -1;
    }
    if (!sched_parse(&schedule, &h.arena, text, &err) || !sched_replay(&h.nest, &schedule, &err) ||
        !nest_verify(&h.nest, &err))
        fail_msg("'%s': %s: %s", text, err.place, err.message);
    assert_string_equal(schedule_text(&h.arena, &schedule), text);
    assert_true(nest_eval(&plain.nest, (void *[]){expected, x}, plain.values, true, &err));
    for (int jammed = 0; jammed < 2; jammed++) {
        memset(out, 0, sizeof out);
        if (!nest_eval(&h.nest, (void *[]){out, x}, h.values, true, &err))
            fail_msg("'%s': %s", text, err.message);
        size_t elements = (size_t)(kind == HAND_SUMS ? rows : rows * columns);
        if (memcmp(out, expected, elements * sizeof *out) != 0)
            fail_msg("'%s' on %lld x %lld: another result", text, (long long)rows,
                     (long long)columns);
        nest_expand_jam(&h.nest);
    }
    arena_release(&plain.arena);
    arena_release(&h.arena);
}

static void each_step_keeps_results(void **state)
{
    (void)state;
    static const struct {
        enum hand_kind kind;
        const char *text;
    } legal[] = {
        {HAND_SCALE, "fuse i0 i1"},
        {HAND_SCALE, "swap i0 i1"},
        {HAND_SCALE, "split i0 3"},
        {HAND_SCALE, "split i1 1"},
        {HAND_SCALE, "tile i0 4"},
        {HAND_SCALE, "tile i1 8; vector i1i 8; parallel i0"},
        {HAND_SCALE, "vector i1 4"},
        {HAND_SCALE, "vector i0 4"},
        {HAND_SCALE, "parallel i0"},
        {HAND_SCALE, "fuse i0 i1; split i0 16; vector i0i 16; parallel i0o"},
        {HAND_SCALE, "split i1 8; swap i0 i1o; tile i0 3; jam i0i; vector i1i 8; parallel i1o"},
        {HAND_SCALE, "tile i0 2; jam i0i; tile i1 2; jam i1i"},
        {HAND_SUMS, "vector k 8; parallel i"},
        {HAND_SUMS, "split k 4; vector ki 4"},
        {HAND_SUMS, "vector i 4"},
        {HAND_SUMS, "tile i 3; jam ii; vector k 16; parallel io"},
        {HAND_SUMS, "split k 3; split ki 2; split ko 2"},
        {HAND_SUMS, "prefetch k x 16; tile i 3; jam ii; vector k 16; parallel io"},
        {HAND_SUMS, "split k 4; prefetch ko x 1; prefetch ki x 4096"},
        {HAND_SCALE, "vector i1 8; prefetch i0 x 2; tile i0 3; jam i0i"},
        {HAND_SUMS, "split k 4; sums i ko"},
        {HAND_SUMS, "split k 8; split ki 2; sums i ko; sums i kio"},
        {HAND_SUMS, "clamp i 3; jam ii; split k 4; sums io ko"},
        {HAND_SUMS, "split i 4; vector ii 4; split k 3; sums io ko; prefetch ki x 2"},
        {HAND_SCALE, "stream out 1; vector i1 4"},
        {HAND_SUMS, "apart k"},
        {HAND_SUMS, "split k 4; apart ki; split ko 2; apart koi"},
        {HAND_SUMS, "tile i 3; jam ii; split k 4; apart ki; prefetch ko x 1"},
        {HAND_SUMS, "vector i 4; split k 3; apart ki"},
        {HAND_SUMS, "split k 4; sums i ko; apart ki"},
    };
    for (uint32_t i = 0; i < sizeof legal / sizeof *legal; i++)
        for (int64_t rows = 0; rows < 14; rows += rows < 5 ? 1 : 4)
            for (int64_t columns = 1; columns < 36; columns += 5)
                expect_legal(legal[i].kind, legal[i].text, rows, columns);
    expect_legal(HAND_SCALE_CONSTANT, "jam i0", 6, 11);
    expect_legal(HAND_SCALE_CONSTANT, "jam i1; jam i0", 6, 10);
    expect_legal(HAND_SCALE_CONSTANT, "tile i1 5; jam i1i; jam i0", 6, 12);
}

static void expect_refused(enum hand_kind kind, const char *text, const char *message)
{
    struct hand h;
    struct error err = {0};
    struct schedule schedule;
    hand_make(&h, kind, 8, 9);
    assert_true(sched_parse(&schedule, &h.arena, text, &err));
    for (uint32_t i = 0; i + 1 < schedule.steps.count; i++)
        if (!sched_apply(&h.nest, &schedule.steps.items[i], NULL, &err))
            fail_msg("'%s': %s", text, err.message);
    const char *before = text_of(&h.arena, &h.nest);
    if (sched_apply(&h.nest, &schedule.steps.items[schedule.steps.count - 1], NULL, &err))
        fail_msg("'%s' was applied", text);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.place, "step on loop"));
    if (!strstr(err.message, message))
        fail_msg("'%s': '%s', not '%s'", text, err.message, message);
    assert_string_equal(text_of(&h.arena, &h.nest), before);
    arena_release(&h.arena);
}

static void illegal_steps_are_refused(void **state)
{
    (void)state;
    expect_refused(HAND_SCALE, "split j 4", "no such loop");
    expect_refused(HAND_SCALE, "fuse i0 j", "no such loop");
    expect_refused(HAND_SCALE, "fuse i1 i0", "is not all that");
    expect_refused(HAND_SUMS, "fuse i k", "is not all that");
    expect_refused(HAND_SCALE, "split i1 4; fuse i1o i1i", "depends on");
    expect_refused(HAND_SCALE, "split i1 4; swap i1o i1i", "depends on");
    expect_refused(HAND_SCALE, "vector i1 4; fuse i0 i1", "different kinds");
    expect_refused(HAND_SCALE, "split i1 0", "factor");
    expect_refused(HAND_SCALE, "vector i1 4; split i1 2", "its kind already");
    expect_refused(HAND_SCALE, "parallel i0; jam i0", "its kind already");
    expect_refused(HAND_SUMS, "tile k 2", "not independent");
    expect_refused(HAND_SCALE, "tile i0 0", "not independent");
    expect_refused(HAND_SCALE, "tile i0 51", "shorter than a block");
    expect_refused(HAND_SCALE, "vector i1 3", "3 lanes");
    expect_refused(HAND_SCALE, "vector i1 1", "1 lanes");
    expect_refused(HAND_SCALE, "vector i1 1024", "1024 lanes");
    expect_refused(HAND_SCALE, "vector i1 4; vector i0 4", "inside another");
    expect_refused(HAND_SCALE, "vector i0 4; vector i1 4", "inside another");
    expect_refused(HAND_SCALE, "split i1 4; vector i1o 4", "differs from lane to lane");
    expect_refused(HAND_SUMS, "split k 4; vector ko 4", "loops inside");
    expect_refused(HAND_SCALE, "jam i0", "constant extent");
    expect_refused(HAND_SUMS, "jam k", "not independent");
    expect_refused(HAND_SCALE, "parallel i1", "not outermost");
    expect_refused(HAND_SCALE, "prefetch j x 4", "no such loop");
    expect_refused(HAND_SCALE, "sums i0 i1", "is not all that");
    expect_refused(HAND_SCALE_CONSTANT, "jam i0; pack i1 1", "run together");
    expect_refused(HAND_SCALE_CONSTANT, "jam i0; sums i1 k", "run together");
    expect_refused(HAND_SUMS, "sums j k", "no such loop");
    expect_refused(HAND_SUMS, "sums k i", "is not all that");
    expect_refused(HAND_SUMS, "vector k 4; sums i k", "is not all that");
    expect_refused(HAND_SUMS, "vector i 4; sums i k", "its kind already");
    expect_refused(HAND_SUMS, "split k 4; sums i ki", "is not all that");
    expect_refused(HAND_SUMS, "split k 4; sums i ko; tile i 3", "may not run twice");
    expect_refused(HAND_SUMS, "split k 4; sums i ko; clamp i 3", "may not run twice");
    expect_refused(HAND_SUMS, "split k 4; sums i ko; vector ko 4", "reduction");
    expect_refused(HAND_SUMS, "prefetch k z 4", "a buffer 'z'");
    expect_refused(HAND_SUMS, "prefetch k out 4", "a buffer 'out'");
    expect_refused(HAND_SUMS, "prefetch k x 0", "0 iterations");
    expect_refused(HAND_SUMS, "prefetch k x 4097", "4097 iterations");
    expect_refused(HAND_SUMS, "vector k 4; prefetch k x 4", "a serial loop");
    expect_refused(HAND_SCALE, "stream x 1", "no such result");
    expect_refused(HAND_SCALE, "stream out 0", "from 0 KiB on, once");
    expect_refused(HAND_SCALE, "stream out 1; stream out 2", "from 2 KiB on, once");
    expect_refused(HAND_SCALE, "stream out 10", "'out' is smaller");
    expect_refused(HAND_SCALE_CONSTANT, "split i1 4; jam i1o", "depends on");
    expect_refused(HAND_SCALE_CONSTANT, "jam i0; jam i1", "more than 64 copies");
    expect_refused(HAND_SCALE, "apart i0", "is no reduction");
    expect_refused(HAND_SUMS, "apart j", "no such loop");
    expect_refused(HAND_SUMS, "apart k; split k 2", "its kind already");
    expect_refused(HAND_SUMS, "split k 4; apart ki; vector ko 4", "loops inside");
    expect_refused(HAND_TOPS, "split k 4; apart ki", "reads its sums");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_keeps_results),   cmocka_unit_test(illegal_steps_are_refused),
        cmocka_unit_test(random_steps_keep_results), cmocka_unit_test(heuristics_keep_results),
        cmocka_unit_test(configs_keep_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
