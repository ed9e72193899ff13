/* Attributes in normal form, compared and hashed field by field, so that padding bytes do not
 * count. */
#include "graph/graph_priv.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

#define RANKED (ATTR_SHAPE | ATTR_DIM | ATTR_START | ATTR_STEP | ATTR_LOW | ATTR_HIGH)

static void normalise_value(const struct attrs *in, struct attrs *out)
{
    if (!dtype_is_float((enum dtype)in->dtype))
        out->integer = dtype_wrap((enum dtype)in->dtype, in->integer);
    else
        out->value = isnan(in->value) ? (double)NAN : dtype_round((enum dtype)in->dtype, in->value);
}

static void copy_ranked(uint32_t bits, const struct attrs *in, struct attrs *out)
{
    size_t rank = in->rank;
    out->rank = in->rank;
    if (bits & (ATTR_SHAPE | ATTR_DIM))
        memcpy(out->shape, in->shape, rank * sizeof *in->shape);
    if (bits & ATTR_START)
        memcpy(out->start, in->start, rank * sizeof *in->start);
    if (bits & ATTR_STEP)
        memcpy(out->step, in->step, rank * sizeof *in->step);
    if (bits & ATTR_LOW)
        memcpy(out->low, in->low, rank * sizeof *in->low);
    if (bits & ATTR_HIGH)
        memcpy(out->high, in->high, rank * sizeof *in->high);
}

static bool check_counts(enum prim prim, uint32_t bits, const struct attrs *in, struct error *err)
{
    const char *name = prim_info(prim)->name;
    if ((bits & RANKED) && in->rank > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "%s: rank %u, at most %d", name, in->rank, LIMIT_RANK);
    if ((bits & ATTR_AXES) && in->axis_count > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "%s: %u axes, at most %d", name, in->axis_count, LIMIT_RANK);
    if ((bits & ATTR_WINDOW) && in->window_count > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "%s: %u windows, at most %d", name, in->window_count,
                    LIMIT_RANK);
    if ((bits & ATTR_DATA) && in->data_bytes > LIMIT_LITERAL_ELEMENTS * sizeof(double))
        return fail(err, ERR_LIMIT, "%s: %u bytes of data, at most %d elements", name,
                    in->data_bytes, LIMIT_LITERAL_ELEMENTS);
    if ((bits & ATTR_DTYPE) && (in->dtype == DTYPE_NONE || in->dtype >= DTYPE_COUNT))
        return fail(err, ERR_SHAPE, "%s: attribute dtype is %u, expected a dtype", name, in->dtype);
    return true;
}

bool attrs_normalise(enum prim prim, const struct attrs *in, struct attrs *out, struct error *err)
{
    static const struct attrs none;
    uint32_t bits = prim_info(prim)->attrs;
    if (!in)
        in = &none;
    if (!check_counts(prim, bits, in, err))
        return false;
    memset(out, 0, sizeof *out);
    if (bits & RANKED)
        copy_ranked(bits, in, out);
    if (bits & ATTR_DTYPE)
        out->dtype = in->dtype;
    if (bits & ATTR_NAME)
        out->name = in->name;
    if (bits & ATTR_VALUE)
        normalise_value(in, out);
    if (bits & ATTR_DATA) {
        out->data = in->data_bytes > 0 ? in->data : NULL;
        out->data_bytes = in->data_bytes;
    }
    if (bits & ATTR_AXIS)
        out->axis = in->axis;
    if (bits & ATTR_AXES) {
        out->axis_count = in->axis_count;
        memcpy(out->axes, in->axes, in->axis_count * sizeof *in->axes);
    }
    out->exclusive = (bits & ATTR_EXCLUSIVE) && in->exclusive;
    out->reverse = (bits & ATTR_REVERSE) && in->reverse;
    if (bits & ATTR_BATCH)
        out->batch = in->batch;
    if (bits & ATTR_CONTRACT)
        out->contract = in->contract;
    if (bits & ATTR_WINDOW) {
        out->window_count = in->window_count;
        memcpy(out->window, in->window, in->window_count * sizeof *in->window);
    }
    if (bits & ATTR_GROUPS)
        out->groups = in->groups;
    if (bits & ATTR_MODE)
        out->mode = in->mode;
    if (bits & ATTR_LOOP)
        out->loop = in->loop;
    if (bits & ATTR_INDEX)
        out->index = in->index;
    if (bits & ATTR_STATES)
        out->states = in->states;
    if (bits & ATTR_WHILE)
        out->condition = in->condition;
    return true;
}

static uint64_t value_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static bool same_name(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool attrs_equal(const struct attrs *a, const struct attrs *b)
{
    if (a == b)
        return true;
    return a->rank == b->rank && a->dtype == b->dtype && a->data_bytes == b->data_bytes &&
           a->axis == b->axis && a->axis_count == b->axis_count && a->exclusive == b->exclusive &&
           a->reverse == b->reverse && a->batch == b->batch && a->contract == b->contract &&
           a->window_count == b->window_count && a->groups == b->groups && a->mode == b->mode &&
           a->loop == b->loop && a->index == b->index && a->states == b->states &&
           a->condition == b->condition && a->integer == b->integer &&
           value_bits(a->value) == value_bits(b->value) && same_name(a->name, b->name) &&
           !memcmp(a->shape, b->shape, sizeof a->shape) &&
           !memcmp(a->axes, b->axes, sizeof a->axes) &&
           !memcmp(a->window, b->window, sizeof a->window) &&
           !memcmp(a->start, b->start, sizeof a->start) &&
           !memcmp(a->step, b->step, sizeof a->step) && !memcmp(a->low, b->low, sizeof a->low) &&
           !memcmp(a->high, b->high, sizeof a->high) &&
           (a->data_bytes == 0 || !memcmp(a->data, b->data, a->data_bytes));
}

uint64_t attrs_hash(const struct attrs *attrs, uint64_t seed)
{
    const uint64_t scalars[] = {
        attrs->rank | (uint64_t)attrs->dtype << 8 | (uint64_t)attrs->axis_count << 16 |
            (uint64_t)attrs->exclusive << 24 | (uint64_t)attrs->reverse << 25 |
            (uint64_t)attrs->batch << 32 | (uint64_t)attrs->contract << 40 |
            (uint64_t)attrs->window_count << 48 | (uint64_t)attrs->mode << 56,
        (uint64_t)attrs->axis,
        (uint64_t)attrs->groups,
        (uint64_t)attrs->integer,
        attrs->loop | (uint64_t)attrs->index << 24 | (uint64_t)attrs->states << 44,
        attrs->condition,
        value_bits(attrs->value),
    };
    uint64_t hash = hash64(scalars, sizeof scalars, seed);
    hash = hash64(attrs->shape, sizeof attrs->shape, hash);
    hash = hash64(attrs->axes, sizeof attrs->axes, hash);
    if (attrs->window_count > 0)
        hash = hash64(attrs->window, attrs->window_count * sizeof *attrs->window, hash);
    if (attrs->rank > 0) {
        hash = hash64(attrs->start, attrs->rank * sizeof *attrs->start, hash);
        hash = hash64(attrs->step, attrs->rank * sizeof *attrs->step, hash);
        hash = hash64(attrs->low, attrs->rank * sizeof *attrs->low, hash);
        hash = hash64(attrs->high, attrs->rank * sizeof *attrs->high, hash);
    }
    if (attrs->data_bytes > 0)
        hash = hash64(attrs->data, attrs->data_bytes, hash);
    return hash;
}
