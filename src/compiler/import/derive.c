/* Restricting named dims: finds the weakest restriction under which a shape rule can prove what it
 * needs.
 *
 * The need (struct dim_demand) is evaluated at many values of one name and several values of the
 * others. The values of that name that always meet it must form a range, or be the multiples of a
 * number. If no single name is enough, all names are varied together. A restriction counts only if
 * the need can be proved under it; of those found, the one that leaves the most values is taken.
 * Then the model is read again. */
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/import/import_priv.h"

enum {
    MOST_ROUNDS = 2000,   /* the most readings of one model */
    MOST_MULTIPLE = 8192, /* the largest divisor that is tried */
    SAMPLES = 64,
    DRAWS = 4,   /* sets of values tried for the names that are not varied */
    MOVES = 24,  /* how often an end of a range moves in search of a proof */
    OTHERS = 200 /* random values of the names that are not varied are below this */
};
#define ALL UINT32_MAX

/* A need and the names in it. The name at index `varied` is varied, or ALL have the same value. */
struct question {
    const struct dim_table *dims;
    struct dim_demand demand;
    uint32_t names[LIMIT_NAMED_DIMS];
    uint32_t name_count, varied;
};

static void collect(struct question *q, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(q->dims, dim, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < terms[i].atom_count; k++) {
            const struct dim_atom *atom = &terms[i].atoms[k];
            uint32_t at = 0;
            if (atom->kind != DIM_ATOM_NAME) {
                collect(q, atom->a);
                collect(q, atom->b);
                continue;
            }
            while (at < q->name_count && q->names[at] != atom->name)
                at++;
            if (at == q->name_count)
                q->names[q->name_count++] = atom->name;
        }
}

static const struct dim_name *name_of(const struct question *q, uint32_t i)
{
    return &q->dims->names.items[q->names[i]];
}

static bool is_met_at(const struct question *q, const int64_t *values)
{
    int64_t a, b = 0;
    if (!dim_eval(q->dims, q->demand.a, values, &a))
        return false;
    if (q->demand.need == DIM_NEEDS_NOT_NEGATIVE)
        return a >= 0;
    return dim_eval(q->dims, q->demand.b, values, &b) && a == b;
}

/* Whether the need is met if the varied name has the legal value nearest to `value`. */
static bool is_met(const struct question *q, int64_t value)
{
    uint64_t key = rng_key(2);
    for (uint32_t draw = 0; draw < (q->varied == ALL ? 1 : DRAWS); draw++) {
        int64_t values[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < q->dims->names.count; i++) {
            bool varied = q->varied == ALL || q->names[q->varied] == i;
            int64_t other = draw == 0 ? 1 : rng_u32(key, draw * LIMIT_NAMED_DIMS + i) % OTHERS;
            values[i] = dim_legal(&q->dims->names.items[i], varied ? value : other);
        }
        if (!is_met_at(q, values))
            return false;
    }
    return true;
}

/* A restriction: the values that it leaves, and their fraction of the original ones. */
struct answer {
    int64_t min, max, multiple_of;
    double left;
};

static bool is_varied(const struct question *q, uint32_t i)
{
    return q->varied == ALL || q->varied == i;
}

static struct answer whole_range(const struct question *q)
{
    struct answer all = {INT64_MAX, 0, 1, 0};
    for (uint32_t i = 0; i < q->name_count; i++) {
        const struct dim_name *name = name_of(q, i);
        int64_t least = dim_legal(name, name->min), most = dim_legal(name, name->max);
        if (!is_varied(q, i))
            continue;
        all.min = least < all.min ? least : all.min;
        all.max = most > all.max ? most : all.max;
    }
    return all;
}

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y != 0) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Applies the restriction to a name; false: no value is left. */
static bool narrowed(const struct dim_name *name, const struct answer *to, struct dim_name *out)
{
    *out = *name;
    out->min = to->min > dim_legal(name, name->min) ? to->min : name->min;
    out->max = to->max < dim_legal(name, name->max) ? to->max : name->max;
    out->multiple_of = common_multiple(name->multiple_of, to->multiple_of);
    if (out->min > out->max || out->max / out->multiple_of * out->multiple_of < out->min)
        return false;
    if (out->typical != 0)
        out->typical = dim_legal(out, out->typical);
    return true;
}

/* Whether the need can be proved from the restricted ranges. The proof uses a new table, so that
 * the original one has no facts that would not hold later. */
static bool is_proved(const struct question *q, const struct answer *answer)
{
    struct arena arena;
    struct dim_table dims;
    struct error ignored;
    bool ok = true;
    arena_init(&arena);
    dim_table_init(&dims, &arena);
    for (uint32_t n = 0; ok && n < q->dims->names.count; n++) {
        struct dim_name name = q->dims->names.items[n];
        uint32_t index;
        for (uint32_t i = 0; ok && i < q->name_count; i++)
            if (q->names[i] == n && is_varied(q, i))
                ok = narrowed(name_of(q, i), answer, &name);
        ok = ok && dim_declare(&dims, &name, &index, &ignored);
    }
    dim_id a = ok ? dim_import(&dims, q->dims, q->demand.a) : DIM_NONE;
    if (q->demand.need == DIM_NEEDS_NOT_NEGATIVE)
        ok = a != DIM_NONE && dim_never_negative(&dims, a);
    else
        ok = a != DIM_NONE && a == dim_import(&dims, q->dims, q->demand.b);
    arena_release(&arena);
    return ok;
}

/* Whether the need is met at both ends and at sampled values between: the smallest ones and random
 * ones. */
static bool holds(const struct question *q, const struct answer *answer)
{
    int64_t by = answer->multiple_of, first = (answer->min + by - 1) / by,
            count = answer->max / by - first + 1;
    uint64_t key = rng_key(1);
    if (count < 1 || !is_met(q, answer->max / by * by))
        return false;
    for (int64_t i = 0; i < SAMPLES; i++) {
        uint64_t drawn = (uint64_t)rng_u32(key, (uint64_t)i) % (uint64_t)count;
        if ((i < count && !is_met(q, (first + i) * by)) ||
            !is_met(q, (first + (int64_t)drawn) * by))
            return false;
    }
    return true;
}

static void consider(const struct question *q, struct answer candidate, struct answer *best)
{
    struct answer all = whole_range(q);
    if (candidate.min > candidate.max)
        return;
    candidate.left = ((double)candidate.max - (double)candidate.min + 1) /
                     (double)candidate.multiple_of / ((double)all.max - (double)all.min + 1);
    /* A dim with a single value is a constant when the model is read again, so it needs no
     * proof. */
    if (candidate.left > best->left && holds(q, &candidate) &&
        (candidate.min == candidate.max || is_proved(q, &candidate)))
        *best = candidate;
}

/* Bisects: the last value from `met` towards `unmet` at which the need is met. */
static int64_t end_of_run(const struct question *q, int64_t met, int64_t unmet)
{
    while (met - unmet > 1 || unmet - met > 1) {
        int64_t middle = met + (unmet - met) / 2;
        if (is_met(q, middle))
            met = middle;
        else
            unmet = middle;
    }
    return met;
}

/* The values at which the need is met, if they begin at the least value or end at the greatest;
 * false: they do neither. */
static bool met_range(const struct question *q, struct answer all, struct answer *out)
{
    bool at_least = is_met(q, all.min), at_most = is_met(q, all.max);
    *out = all;
    if (at_most && !at_least)
        out->min = end_of_run(q, all.max, all.min);
    else if (at_least && !at_most)
        out->max = end_of_run(q, all.min, all.max);
    return at_least || at_most;
}

/* Tries the range; its inner end moves inwards until the need is proved. If the need is met at all
 * values but not proved, the least value moves. */
static void consider_range(const struct question *q, struct answer all, struct answer *best)
{
    struct answer range;
    if (!met_range(q, all, &range))
        return;
    for (uint32_t move = 0; move < MOVES && best->left == 0 && range.min <= range.max; move++) {
        int64_t step = INT64_C(1) << move / 2;
        consider(q, range, best);
        if (range.max < all.max)
            range.max -= step;
        else
            range.min += step;
    }
}

/* Tries the range in which both sides are equal, provided that they are equal nowhere else. */
static void consider_equal_range(const struct question *q, struct answer all, struct answer *best)
{
    struct dim_table *dims = (struct dim_table *)q->dims;
    struct question over = *q, under = *q;
    struct answer a, b;
    uint64_t key = rng_key(3);
    over.demand = (struct dim_demand){DIM_NEEDS_NOT_NEGATIVE,
                                      dim_sub(dims, q->demand.a, q->demand.b), DIM_NONE, false};
    under.demand = (struct dim_demand){DIM_NEEDS_NOT_NEGATIVE,
                                       dim_sub(dims, q->demand.b, q->demand.a), DIM_NONE, false};
    if (over.demand.a == DIM_NONE || under.demand.a == DIM_NONE || !met_range(&over, all, &a) ||
        !met_range(&under, all, &b))
        return;
    a.min = a.min > b.min ? a.min : b.min;
    a.max = a.max < b.max ? a.max : b.max;
    for (int64_t i = 0; i < 2 * SAMPLES; i++) {
        uint64_t drawn = rng_u32(key, (uint64_t)i) % ((uint64_t)(all.max - all.min) + 1);
        int64_t value = all.min + (i < SAMPLES ? i : (int64_t)drawn);
        if (value <= all.max && (value < a.min || value > a.max) && is_met(q, value))
            return;
    }
    consider(q, a, best);
}

static struct answer answer_of(const struct question *q)
{
    struct answer all = whole_range(q), best = {0};
    consider_range(q, all, &best);
    if (q->demand.need != DIM_NEEDS_EQUAL)
        return best;
    for (int64_t by = 2; by <= MOST_MULTIPLE && best.multiple_of != by; by++)
        consider(q, (struct answer){all.min, all.max, by, 0}, &best);
    /* A value that all names have together says nothing about a single name. */
    if (best.left == 0 && (q->varied != ALL || q->name_count == 1))
        consider_equal_range(q, all, &best);
    return best;
}

/* The best restriction of one name, otherwise one of all names. If two names would do equally well
 * for an equality, the result is false: the caller must decide. */
static bool answer(struct question *q, struct answer *out)
{
    uint32_t chosen = ALL;
    bool open = false;
    *out = (struct answer){.left = 0};
    for (q->varied = 0; q->varied < q->name_count; q->varied++) {
        struct answer one = answer_of(q);
        open = one.left == out->left ? one.left > 0 : open && one.left < out->left;
        if (one.left > out->left) {
            *out = one;
            chosen = q->varied;
        }
    }
    q->varied = chosen;
    if (chosen == ALL && q->name_count > 1)
        *out = answer_of(q);
    return out->left > 0 && !(open && q->demand.need == DIM_NEEDS_EQUAL);
}

static struct derived_dim *derived(struct derivation *d, const struct dim_name *name)
{
    for (uint32_t i = 0; i < d->reasons.count; i++)
        if (strcmp(d->reasons.items[i].name, name->name) == 0)
            return &d->reasons.items[i];
    VEC_PUSH(d->arena, &d->reasons,
             ((struct derived_dim){.name = arena_strdup(d->arena, name->name)}));
    return &d->reasons.items[d->reasons.count - 1];
}

/* Sets the reason of this kind, in place of an earlier one, and returns the text of all kinds. */
static const char *note(struct derivation *d, const struct dim_name *name, enum derived_kind kind,
                        const char *what, const char *why)
{
    struct derived_dim *dim = derived(d, name);
    struct strbuf text;
    strbuf_init(&text, d->arena);
    if (kind == DERIVED_EQUAL && dim->why[kind])
        strbuf_printf(&text, "%s; ", dim->why[kind]);
    strbuf_printf(&text, "%s: %s", what, why);
    dim->why[kind] = text.data;
    strbuf_init(&text, d->arena);
    for (int k = 0; k < DERIVED_KINDS; k++)
        if (dim->why[k])
            strbuf_printf(&text, "%s%s", text.size_bytes > 0 ? "; " : "", dim->why[k]);
    return text.data;
}

static struct dim_name *restricted(struct derivation *d, const struct dim_name *name)
{
    for (uint32_t i = 0; i < d->dims.count; i++)
        if (strcmp(d->dims.items[i].name, name->name) == 0)
            return &d->dims.items[i];
    struct dim_name copy = *name;
    copy.name = arena_strdup(d->arena, name->name);
    VEC_PUSH(d->arena, &d->dims, copy);
    return &d->dims.items[d->dims.count - 1];
}

static bool restrict_name(struct derivation *d, const struct dim_name *name,
                          const struct answer *to, const char *why)
{
    struct dim_name now;
    enum derived_kind kind = DERIVED_MOST;
    char what[96];
    if (!narrowed(name, to, &now))
        return false;
    if (now.min == name->min && now.max == name->max && now.multiple_of == name->multiple_of)
        return true;
    if (now.multiple_of > name->multiple_of) {
        kind = DERIVED_MULTIPLE;
        snprintf(what, sizeof what, "a multiple of %lld", (long long)now.multiple_of);
    } else if (now.min == now.max) {
        kind = DERIVED_LEAST;
        snprintf(what, sizeof what, "exactly %lld", (long long)now.min);
    } else if (now.min > name->min && now.max < name->max) {
        kind = DERIVED_LEAST;
        snprintf(what, sizeof what, "%lld to %lld", (long long)now.min, (long long)now.max);
    } else if (now.min > name->min) {
        kind = DERIVED_LEAST;
        snprintf(what, sizeof what, "at least %lld", (long long)now.min);
    } else {
        snprintf(what, sizeof what, "at most %lld", (long long)now.max);
    }
    now.why = note(d, name, kind, what, why);
    struct dim_name *kept = restricted(d, name);
    now.name = kept->name;
    *kept = now;
    d->changed = true;
    return true;
}

/* a = b, where one side is a name that the other side does not contain: that name becomes an alias
 * of the other side. If both sides are names, the one declared later becomes the alias. */
static bool equate(struct derivation *d, const struct question *q, const char *why)
{
    struct dim_table *dims = (struct dim_table *)q->dims;
    const dim_id sides[2] = {q->demand.a, q->demand.b};
    uint32_t names[2] = {0, 0};
    const bool is_name[2] = {dim_is_name(dims, sides[0], &names[0]),
                             dim_is_name(dims, sides[1], &names[1])};
    bool second = is_name[1] && (!is_name[0] || names[1] > names[0]);
    for (uint32_t turn = 0; turn < 2; turn++) {
        uint32_t s = turn == 0 ? second : !second;
        struct question other = {.dims = q->dims};
        bool alone = is_name[s];
        collect(&other, sides[1 - s]);
        for (uint32_t i = 0; i < other.name_count; i++)
            alone = alone && other.names[i] != names[s];
        if (!alone || other.name_count == 0)
            continue;
        struct strbuf text, what;
        const struct dim_name *gone = &dims->names.items[names[s]];
        strbuf_init(&text, d->arena);
        strbuf_init(&what, d->arena);
        dim_print(dims, sides[1 - s], &text);
        strbuf_printf(&what, "%s = %s", gone->name, text.data);
        for (uint32_t i = 0; i < other.name_count; i++) /* an alias may need them before they would
                                                           be declared */
            restricted(d, name_of(&other, i));
        restricted(d, name_of(&other, 0))->why =
            note(d, name_of(&other, 0), DERIVED_EQUAL, what.data, why);
        VEC_PUSH(d->arena, &d->equal,
                 ((struct import_equal){arena_strdup(d->arena, gone->name), text.data}));
        d->changed = true;
        return true;
    }
    return false;
}

/* Two sizes of which one may be 1, and be repeated: nothing says so, so they become equal. The
 * names that the caller can make 1 instead; "" if there are none. */
static void hint_ones(const struct question *q, struct strbuf *out)
{
    const dim_id sides[2] = {q->demand.a, q->demand.b};
    bool any = false;
    if (!q->demand.repeats || dim_is_const(q->dims, sides[0], NULL) ||
        dim_is_const(q->dims, sides[1], NULL))
        return;
    for (uint32_t i = 2; i-- > 0;) { /* b is the left operand of most */
        uint32_t name;
        if (!dim_is_name(q->dims, sides[i], &name) || q->dims->names.items[name].min > 1)
            continue;
        strbuf_printf(out, "%s--dim %s=1",
                      any ? " or " : "; if one is 1 and repeated: ", dim_shown(q->dims, name));
        any = true;
    }
}

void derive_begin(struct derivation *d, const struct import_options *options, struct arena *arena)
{
    *d = (struct derivation){.arena = arena, .options = *options};
    for (uint32_t i = 0; i < options->dim_count; i++)
        VEC_PUSH(arena, &d->dims, options->dims[i]);
}

bool derive_more(struct derivation *d, const struct dim_table *dims,
                 const struct dim_demand *demand, const char *why)
{
    struct question q = {.dims = dims, .demand = *demand, .varied = ALL};
    struct answer found;
    struct strbuf text;
    if (demand->need == DIM_NEEDS_NOTHING || demand->a == DIM_NONE ||
        (demand->need == DIM_NEEDS_EQUAL && demand->b == DIM_NONE) || ++d->rounds > MOST_ROUNDS)
        return false;
    collect(&q, demand->a);
    if (demand->need == DIM_NEEDS_EQUAL)
        collect(&q, demand->b);
    strbuf_init(&text, d->arena);
    strbuf_puts(&text, why);
    hint_ones(&q, &text);
    d->changed = false;
    if (q.name_count == 0)
        return false;
    if (!(demand->need == DIM_NEEDS_EQUAL && q.name_count > 1 && equate(d, &q, text.data))) {
        if (!answer(&q, &found))
            return false;
        for (uint32_t i = 0; i < q.name_count; i++)
            if (is_varied(&q, i) && !restrict_name(d, name_of(&q, i), &found, text.data))
                return false;
    }
    d->options.dims = d->dims.items;
    d->options.dim_count = d->dims.count;
    d->options.equal = d->equal.items;
    d->options.equal_count = d->equal.count;
    return d->changed;
}

void derive_warn(const struct derivation *d, struct strbuf *out)
{
    for (uint32_t i = 0; i < d->dims.count; i++) {
        const struct dim_name *name = &d->dims.items[i];
        if (!name->why)
            continue;
        strbuf_printf(out, "the dim '%s' is restricted: %s", name->name, name->why);
        strbuf_add(out, "", 1);
    }
}
