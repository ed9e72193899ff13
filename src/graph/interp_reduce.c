/* Reductions and scans: folds over lines of elements.
 *
 * Float sums, maxima and minima are computed many at a time, as columns; everything else, and
 * results that are not finite, are folded term by term. */
#include "base/parallel.h"
#include "graph/interp_sums_priv.h"
#include "graph/interp_op_priv.h"

/* A reduction, with neighbouring dims merged where both are kept or both are reduced. How elements
 * are spread over columns depends on whether the last dim is reduced:
 *
 *     reduced: [kept, reduced, …, line]     each line is one result: for a maximum it is spread
 *                                           over eight columns, which are then joined; for a sum
 *                                           it is one column, added in the order of its elements
 *     kept:    [kept, reduced, …, columns]  up to 64 results side by side are one column each, to
 *                                           which rows are added */
struct reduction {
    const struct op *op;
    const struct interp_tensor *x;
    enum fold_kind kind;
    struct walk kept, reduced; /* all dims but the last */
    bool lines;                /* whether the last dim is reduced */
    int64_t last, terms;       /* size of the last dim; elements of one result */
    bool by_terms;
};

static void walk_seek(struct walk *walk, int64_t index)
{
    walk->offset = 0;
    for (uint32_t d = walk->rank; d-- > 0; index /= walk->shape[d]) {
        walk->index[d] = index % walk->shape[d];
        walk->offset += walk->index[d] * walk->stride[d];
    }
}

static void reduction_init(struct reduction *r, const struct op *op)
{
    static const enum fold_kind kinds[PRIM_COUNT] = {[PRIM_REDUCE_SUM] = FOLD_SUM,
                                                     [PRIM_REDUCE_PROD] = FOLD_PROD,
                                                     [PRIM_REDUCE_MAX] = FOLD_MAX,
                                                     [PRIM_REDUCE_MIN] = FOLD_MIN};
    const struct interp_tensor *x = op->in[0];
    const struct attrs *attrs = op->attrs;
    int64_t stride[LIMIT_RANK], size[LIMIT_RANK], step[LIMIT_RANK];
    bool reduced[LIMIT_RANK];
    uint32_t next = 0, count = 0;
    *r = (struct reduction){.op = op, .x = x, .kind = kinds[op->prim], .terms = 1};
    row_strides(x->shape, x->rank, stride);
    for (uint32_t d = 0; d < x->rank; d++) {
        bool is_reduced = next < attrs->axis_count && attrs->axes[next] == d;
        next += is_reduced;
        r->terms *= is_reduced ? x->shape[d] : 1;
        bool merge = count > 0 && reduced[count - 1] == is_reduced;
        count += !merge;
        size[count - 1] = (merge ? size[count - 1] : 1) * x->shape[d];
        step[count - 1] = stride[d];
        reduced[count - 1] = is_reduced;
    }
    r->lines = reduced[count - 1];
    r->last = size[count - 1];
    for (uint32_t d = 0; d + 1 < count; d++)
        walk_push(reduced[d] ? &r->reduced : &r->kept, size[d], step[d]);
    r->by_terms =
        !dtype_is_float(x->dtype) || r->kind == FOLD_PROD || x->count == 0 || r->op->plain;
}

/* Folds one result term by term, from the element at `base` on. */
static void reduce_by_terms(const struct reduction *r, int64_t base, int64_t index)
{
    struct walk reduced = r->reduced;
    int64_t size = r->lines ? r->last : 1;
    struct fold fold;
    fold_begin(&fold, r->kind, r->x->dtype);
    fold.plain = r->op->plain && r->x->dtype != DTYPE_F64;
    if (r->terms > 0) {
        do {
            for (int64_t i = 0, at = base + reduced.offset; i < size; i++, at++)
                fold_add(&fold, r->x->cells[at], bound_at(r->x, at));
        } while (walk_next(&reduced));
    }
    fold_put(&fold, r->op, index);
}

/* Adds the line or row at base to the columns. A line is taken as rows of columns->width elements,
 * the last of which may be shorter. */
static void add_at(const struct reduction *r, struct columns *columns, int64_t base, bool errors)
{
    const double *x = &r->x->cells[base].f, *e = r->x->bounds ? r->x->bounds + base : NULL;
    int64_t width = columns->width;
    int64_t rows = r->lines ? r->last / width : 1, rest = r->lines ? r->last % width : 0;
    void (*add)(struct columns *, const double *, const double *, int64_t, int64_t) =
        errors ? columns_add_errors : columns_add;
    add(columns, x, e, rows, width);
    if (rest > 0) {
        columns->width = rest;
        add(columns, x + rows * width, e ? e + rows * width : NULL, 1, width);
        columns->width = width;
    }
}

static void add_all(const struct reduction *r, struct columns *columns, int64_t base)
{
    struct walk reduced = r->reduced;
    bool second = r->x->bounds && r->kind != FOLD_SUM;
    do
        add_at(r, columns, base + reduced.offset, false);
    while (walk_next(&reduced));
    if (second && r->lines) { /* every column must compare with the maximum of value - error over
                                 all columns */
        struct columns joined = *columns;
        columns_join(&joined);
        for (int64_t l = 0; l < columns->width; l++)
            columns->magnitude[l] = joined.magnitude[0];
    }
    while (second) {
        add_at(r, columns, base + reduced.offset, true);
        second = walk_next(&reduced);
    }
}

/* Computes up to 64 results: those of 64 lines, or of 64 columns side by side. */
static void reduce_turn(void *context, int64_t turn, uint32_t worker)
{
    const struct reduction *r = context;
    int64_t per_kept = (r->last + COLUMNS_MOST - 1) / COLUMNS_MOST;
    int64_t first = r->lines ? turn * COLUMNS_MOST : turn / per_kept;
    int64_t column = r->lines ? 0 : turn % per_kept * COLUMNS_MOST;
    int64_t left = r->lines ? r->op->out->count - first : r->last - column;
    int64_t count = left < COLUMNS_MOST ? left : COLUMNS_MOST;
    int64_t index = r->lines ? first : first * r->last + column;
    struct walk kept = r->kept;
    struct columns columns;
    (void)worker;
    walk_seek(&kept, first);
    columns_begin(&columns, r->kind == FOLD_PROD ? FOLD_SUM : r->kind, count);
    if (!r->by_terms && !r->lines)
        add_all(r, &columns, kept.offset + column);
    for (int64_t i = 0; !r->by_terms && r->lines && i < count; i++) {
        struct columns eight;
        columns_begin(&eight, r->kind, r->kind == FOLD_SUM ? 1 : 8);
        add_all(r, &eight, kept.offset);
        columns_join(&eight);
        columns.value[i] = eight.value[0];
        columns.magnitude[i] = eight.magnitude[0];
        columns.error[i] = eight.error[0];
        columns.special[i] = eight.special[0];
        walk_next(&kept);
    }
    if (!r->by_terms && columns_put(&columns, r->op, index, 0, count, r->terms))
        return;
    walk_seek(&kept, first);
    for (int64_t i = 0; i < count; i++) {
        reduce_by_terms(r, kept.offset + (r->lines ? 0 : column + i), index + i);
        if (r->lines)
            walk_next(&kept);
    }
}

void run_reduce(const struct op *op)
{
    struct reduction r;
    reduction_init(&r, op);
    int64_t count = op->out->count, per_kept = (r.last + COLUMNS_MOST - 1) / COLUMNS_MOST;
    if (count == 0)
        return;
    int64_t turns = r.lines ? (count + COLUMNS_MOST - 1) / COLUMNS_MOST : count / r.last * per_kept;
    parallel_for(op_threads(op, (double)r.x->count), turns, reduce_turn, &r);
}

/* A scan; up to 64 lines advance together. */
struct scan {
    const struct op *op;
    enum fold_kind kind;
    int64_t size, inner, lines;
    bool by_terms;
};

static int64_t scan_base(const struct scan *s, int64_t line)
{
    return line / s->inner * s->size * s->inner + line % s->inner;
}

static int64_t scan_step(const struct scan *s, int64_t j)
{
    return (s->op->attrs->reverse ? s->size - 1 - j : j) * s->inner;
}

static void scan_by_terms(const struct scan *s, int64_t base)
{
    const struct interp_tensor *x = s->op->in[0];
    bool exclusive = s->op->attrs->exclusive;
    struct fold fold;
    fold_begin(&fold, s->kind, x->dtype);
    fold.plain = s->op->plain && x->dtype != DTYPE_F64;
    for (int64_t j = 0; j < s->size; j++) {
        int64_t at = base + scan_step(s, j);
        if (exclusive)
            fold_put(&fold, s->op, at);
        fold_add(&fold, x->cells[at], bound_at(x, at));
        if (!exclusive)
            fold_put(&fold, s->op, at);
    }
}

/* Sums of `count` lines whose elements are `stride` apart. */
static bool scan_sums(const struct scan *s, int64_t base, int64_t stride, int64_t count)
{
    const struct op *op = s->op;
    const struct interp_tensor *x = op->in[0];
    double values[COLUMNS_MOST], errors[COLUMNS_MOST];
    struct columns sums;
    bool plain = true;
    columns_begin(&sums, FOLD_SUM, count);
    for (int64_t j = 0; j < s->size; j++) {
        int64_t at = base + scan_step(s, j);
        for (int64_t l = 0; op->attrs->exclusive && j == 0 && l < count; l++)
            op_put_exact(op, at + l * stride, (union cell){.f = 0}, 0);
        if (op->attrs->exclusive && j > 0)
            plain &= sums_put(op, at, stride,
                              &(struct sums){count, j, sums.value, sums.magnitude, sums.error});
        for (int64_t l = 0; l < count; l++)
            values[l] = x->cells[at + l * stride].f;
        for (int64_t l = 0; x->bounds && l < count; l++)
            errors[l] = x->bounds[at + l * stride];
        columns_add(&sums, values, x->bounds ? errors : NULL, 1, 0);
        if (!op->attrs->exclusive)
            plain &= sums_put(op, at, stride,
                              &(struct sums){count, j + 1, sums.value, sums.magnitude, sums.error});
    }
    return plain;
}

static void scan_turn(void *context, int64_t turn, uint32_t worker)
{
    const struct scan *s = context;
    int64_t side = s->inner > 1 ? s->inner : s->lines; /* number of lines that can advance together
                                                        */
    int64_t per_side = (side + COLUMNS_MOST - 1) / COLUMNS_MOST;
    int64_t column = turn % per_side * COLUMNS_MOST, first = turn / per_side * side + column;
    int64_t count = side - column < COLUMNS_MOST ? side - column : COLUMNS_MOST;
    (void)worker;
    if (!s->by_terms &&
        scan_sums(s, scan_base(s, first), s->inner > 1 ? 1 : s->size * s->inner, count))
        return;
    for (int64_t l = 0; l < count; l++)
        scan_by_terms(s, scan_base(s, first + l));
}

void run_scan(const struct op *op)
{
    static const enum fold_kind kinds[PRIM_COUNT] = {
        [PRIM_CUM_SUM] = FOLD_SUM, [PRIM_CUM_PROD] = FOLD_PROD, [PRIM_CUM_MAX] = FOLD_MAX};
    const struct interp_tensor *x = op->in[0];
    uint32_t axis = (uint32_t)op->attrs->axis;
    struct scan s = {.op = op, .kind = kinds[op->prim], .size = x->shape[axis]};
    if (op->out->count == 0)
        return;
    s.inner = shape_product(x->shape, axis + 1, x->rank);
    s.lines = shape_product(x->shape, 0, axis) * s.inner;
    s.by_terms = !dtype_is_float(x->dtype) || s.kind != FOLD_SUM || op->plain;
    int64_t side = s.inner > 1 ? s.inner : s.lines;
    int64_t per_side = (side + COLUMNS_MOST - 1) / COLUMNS_MOST;
    parallel_for(op_threads(op, (double)op->out->count), s.lines / side * per_side, scan_turn, &s);
}
