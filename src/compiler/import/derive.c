/* Dims that a model restricts: from a need that no rule could prove to the weakest restriction of
 * named dims that gives it.
 *
 * An expression of one name is tried at many of its values: those at which the need is met form a
 * range that begins at the least or ends at the most one, or are the multiples of a number. Of the
 * candidates the one that leaves the most values is taken. That is a guess, and becomes a proof
 * when the model is read again and its rules hold for all values that are left. */
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/import/import_priv.h"

enum {
    MOST_ROUNDS = 200,    /* readings of one model */
    MOST_MULTIPLE = 8192, /* a divisor that is looked for */
    SAMPLES = 64,
};

/* A need, over the names it is about. */
struct question {
    const struct dim_table *dims;
    struct dim_demand demand;
    uint32_t names[LIMIT_NAMED_DIMS];
    uint32_t name_count;
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

/* Whether the need is met where every name has the legal value that is nearest to value. */
static bool is_met(const struct question *q, int64_t value)
{
    int64_t values[LIMIT_NAMED_DIMS] = {0}, a, b = 0;
    for (uint32_t i = 0; i < q->dims->names.count; i++)
        values[i] = dim_legal(&q->dims->names.items[i], value);
    if (!dim_eval(q->dims, q->demand.a, values, &a))
        return false;
    if (q->demand.need == DIM_NEEDS_NOT_NEGATIVE)
        return a >= 0;
    return dim_eval(q->dims, q->demand.b, values, &b) && a == b;
}

/* Values that are left, and how many. */
struct answer {
    int64_t min, max, multiple_of;
    double left;
};

static struct answer whole_range(const struct question *q)
{
    struct answer all = {INT64_MAX, 0, 1, 0};
    for (uint32_t i = 0; i < q->name_count; i++) {
        const struct dim_name *name = name_of(q, i);
        int64_t least = dim_legal(name, name->min), most = dim_legal(name, name->max);
        all.min = least < all.min ? least : all.min;
        all.max = most > all.max ? most : all.max;
    }
    return all;
}

/* Whether the need is met at the ends and at values between, the small ones first. */
static bool holds(const struct question *q, struct answer *answer)
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
    answer->left = (double)count;
    return true;
}

static void consider(const struct question *q, struct answer candidate, struct answer *best)
{
    if (candidate.min <= candidate.max && holds(q, &candidate) && candidate.left > best->left)
        *best = candidate;
}

/* The last value of a run of met ones that begins at `met`, towards `unmet`. */
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

/* The one value at which both sides are equal, where the difference changes its sign once. */
static int64_t crossing(const struct question *q, struct answer all)
{
    struct question below = *q;
    struct dim_table *dims = (struct dim_table *)q->dims;
    below.demand = (struct dim_demand){DIM_NEEDS_NOT_NEGATIVE,
                                       dim_sub(dims, q->demand.a, q->demand.b), DIM_NONE};
    if (below.demand.a == DIM_NONE)
        return all.min;
    if (is_met(&below, all.min))
        return end_of_run(&below, all.min, all.max);
    return end_of_run(&below, all.max, all.min);
}

static bool answer(const struct question *q, struct answer *out)
{
    struct answer all = whole_range(q), best = {0}, some;
    bool at_least = is_met(q, all.min), at_most = is_met(q, all.max);
    if (at_most && !at_least)
        consider(q, (struct answer){end_of_run(q, all.max, all.min), all.max, 1, 0}, &best);
    if (at_least && !at_most)
        consider(q, (struct answer){all.min, end_of_run(q, all.min, all.max), 1, 0}, &best);
    for (int64_t by = 2; q->demand.need == DIM_NEEDS_EQUAL && by <= MOST_MULTIPLE; by++) {
        some = (struct answer){all.min, all.max, by, 0};
        consider(q, some, &best);
        if (best.multiple_of == by)
            break;
    }
    if (q->demand.need == DIM_NEEDS_EQUAL && best.left == 0) {
        int64_t only = crossing(q, all);
        consider(q, (struct answer){only, only, 1, 0}, &best);
    }
    *out = best;
    return best.left > 0;
}

static const char *join(struct derivation *d, const char *before, const char *what, const char *why)
{
    struct strbuf text;
    strbuf_init(&text, d->arena);
    if (before)
        strbuf_printf(&text, "%s; ", before);
    strbuf_printf(&text, "%s: %s", what, why);
    if (text.size_bytes > LIMIT_NAME) {
        size_t end = LIMIT_NAME - 3; /* "…" */
        while (end > 0 && ((unsigned char)text.data[end] & 0xc0) == 0x80)
            end--;
        memcpy(text.data + end, "…", sizeof "…");
    }
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

static bool restrict_name(struct derivation *d, const struct dim_name *name, struct answer to,
                          const char *why)
{
    char what[96];
    int64_t by = common_multiple(name->multiple_of, to.multiple_of);
    struct dim_name now = *name;
    now.min = to.min > now.min ? to.min : now.min;
    now.max = to.max < now.max ? to.max : now.max;
    now.multiple_of = by;
    if (now.min == name->min && now.max == name->max && by == name->multiple_of)
        return true;
    if (now.min > now.max || now.max / by * by < now.min)
        return false;
    if (by > name->multiple_of)
        snprintf(what, sizeof what, "a multiple of %lld", (long long)by);
    else if (now.min == now.max)
        snprintf(what, sizeof what, "%lld", (long long)now.min);
    else if (now.min > name->min)
        snprintf(what, sizeof what, "at least %lld", (long long)now.min);
    else
        snprintf(what, sizeof what, "at most %lld", (long long)now.max);
    if (now.typical != 0)
        now.typical = dim_legal(&now, now.typical);
    now.why = join(d, name->why, what, why);
    struct dim_name *kept = restricted(d, name);
    now.name = kept->name;
    *kept = now;
    d->changed = true;
    return true;
}

/* a = b, where one of them is a name by itself that the other is not made of: that name becomes
 * another way to write the other, if it was declared last of all. */
static bool equate(struct derivation *d, const struct question *q, const char *why)
{
    struct dim_table *dims = (struct dim_table *)q->dims;
    const dim_id sides[2] = {q->demand.a, q->demand.b};
    for (uint32_t s = 0; s < 2; s++) {
        struct question other = {.dims = q->dims};
        uint32_t name;
        bool last = true;
        if (!dim_is_name(dims, sides[s], &name))
            continue;
        collect(&other, sides[1 - s]);
        for (uint32_t i = 0; i < other.name_count; i++)
            last = last && other.names[i] < name;
        if (!last || other.name_count == 0)
            continue;
        struct strbuf text, what;
        const struct dim_name *gone = &dims->names.items[name];
        strbuf_init(&text, d->arena);
        strbuf_init(&what, d->arena);
        dim_print(dims, sides[1 - s], &text);
        strbuf_printf(&what, "%s = %s", gone->name, text.data);
        struct dim_name *kept = restricted(d, &dims->names.items[other.names[0]]);
        kept->why = join(d, kept->why, what.data, why);
        VEC_PUSH(d->arena, &d->equal,
                 ((struct import_equal){arena_strdup(d->arena, gone->name), text.data}));
        d->changed = true;
        return true;
    }
    return false;
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
    struct question q = {.dims = dims, .demand = *demand};
    struct answer found;
    if (demand->need == DIM_NEEDS_NOTHING || demand->a == DIM_NONE ||
        (demand->need == DIM_NEEDS_EQUAL && demand->b == DIM_NONE) || ++d->rounds > MOST_ROUNDS)
        return false;
    collect(&q, demand->a);
    if (demand->need == DIM_NEEDS_EQUAL)
        collect(&q, demand->b);
    d->changed = false;
    if (q.name_count == 0)
        return false;
    if (!(demand->need == DIM_NEEDS_EQUAL && q.name_count > 1 && equate(d, &q, why))) {
        if (!answer(&q, &found))
            return false;
        for (uint32_t i = 0; i < q.name_count; i++)
            if (!restrict_name(d, name_of(&q, i), found, why))
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
