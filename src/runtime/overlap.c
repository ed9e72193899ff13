/* Whether elements share memory, as a bounded subset-sum problem: is a given number a sum of steps,
 * each taken at most a given number of times?
 *
 * A tensor's elements lie at low + Σ step · index with steps > 0, if dims with negative strides are
 * indexed from their other end. Two tensors share a byte where
 *
 *     low(a) + Σ step · index + i = low(b) + Σ step · index + j,    i, j bytes inside an element,
 *
 * and replacing each index on the right by dim - 1 - index brings all terms to the left with
 * positive steps. Two elements of one tensor share a byte where their difference, Σ step · z with
 * |z| < dim and not all z zero, is 0; the first z that is not zero may be assumed to be positive.
 *
 * The search fixes the count of the largest step first. In most layouts without overlap each step
 * is larger than the sum of all smaller ones, so hardly more than one count is possible per term.
 * Other layouts may take time that grows with the product of the dims, so the search stops after
 * SEARCH_MAX tries. */
#include "runtime/parts_priv.h"

#define SEARCH_MAX 20000
#define TERMS_MAX (2 * LIMIT_RANK + 1)

struct term {
    uint64_t step, most; /* the largest number of times it may be taken */
};

/* Sums stay below 2^64, since each tensor's steps span less than 2^63 bytes (tensor_check). */
struct search {
    struct term terms[TERMS_MAX]; /* largest step first */
    uint32_t count;
    uint64_t most[TERMS_MAX + 1];    /* largest sum of the terms from this one on */
    uint64_t divisor[TERMS_MAX + 1]; /* common divisor of all steps from this one on */
    uint32_t left;                   /* tries left */
};

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Inserts a term in order; equal steps become one term. */
static void add_term(struct search *search, uint64_t step, uint64_t most)
{
    if (step == 0 || most == 0)
        return;
    uint32_t at = search->count;
    while (at > 0 && search->terms[at - 1].step < step)
        at--;
    if (at > 0 && search->terms[at - 1].step == step) {
        search->terms[at - 1].most += most;
        return;
    }
    for (uint32_t i = search->count++; i > at; i--)
        search->terms[i] = search->terms[i - 1];
    search->terms[at] = (struct term){step, most};
}

/* Whether the terms from `at` on can give the sum. */
static bool reach(struct search *search, uint32_t at, uint64_t sum)
{
    if (sum == 0)
        return true;
    if (sum > search->most[at] || sum % search->divisor[at] != 0)
        return false;
    const struct term *term = &search->terms[at];
    uint64_t rest = search->most[at + 1], most = sum / term->step;
    uint64_t least = sum > rest ? (sum - rest - 1) / term->step + 1 : 0;
    if (most > term->most)
        most = term->most;
    for (uint64_t times = least; times <= most; times++) {
        if (search->left == 0)
            return true;
        search->left--;
        if (reach(search, at + 1, sum - times * term->step))
            return true;
    }
    return false;
}

static bool can_give(struct search *search, uint64_t sum)
{
    search->most[search->count] = 0;
    search->divisor[search->count] = 1;
    for (uint32_t i = search->count; i-- > 0;) {
        const struct term *term = &search->terms[i];
        search->most[i] = search->most[i + 1] + term->step * term->most;
        search->divisor[i] = i + 1 == search->count
                                 ? term->step
                                 : common_divisor(search->divisor[i + 1], term->step);
    }
    search->left = SEARCH_MAX;
    return reach(search, 0, sum);
}

static uint64_t magnitude(int64_t step)
{
    return step < 0 ? (uint64_t)-step : (uint64_t)step;
}

bool tensor_meets_itself(const struct tensor *tensor)
{
    if (tensor->dense || tensor->elements <= 1)
        return false;
    int64_t steps[LIMIT_RANK];
    tensor_steps(tensor, steps);
    for (uint32_t first = 0; first < tensor->rank; first++) {
        uint64_t most = (uint64_t)tensor->shape[first] - 1;
        if (most == 0)
            continue;
        if (steps[first] == 0)
            return true;
        /* Substituted so that counts are ≥ 0: z[first] = most - count, the other z = count - (dim -
         * 1). */
        struct search search = {.count = 0};
        uint64_t sum = most * magnitude(steps[first]);
        add_term(&search, magnitude(steps[first]), most - 1);
        for (uint32_t i = first + 1; i < tensor->rank; i++) {
            uint64_t others = (uint64_t)tensor->shape[i] - 1;
            add_term(&search, magnitude(steps[i]), 2 * others);
            sum += others * magnitude(steps[i]);
        }
        if (can_give(&search, sum))
            return true;
    }
    return false;
}

static void add_steps(struct search *search, const struct tensor *tensor)
{
    int64_t steps[LIMIT_RANK];
    tensor_steps(tensor, steps);
    for (uint32_t i = 0; i < tensor->rank; i++)
        add_term(search, magnitude(steps[i]), (uint64_t)tensor->shape[i] - 1);
}

bool tensors_meet(const struct tensor *a, const struct tensor *b)
{
    if (a->span_bytes == 0 || b->span_bytes == 0 || a->low >= b->low + b->span_bytes ||
        b->low >= a->low + a->span_bytes)
        return false;
    if (a->dense && b->dense)
        return true;
    size_t size_a = dtype_bytes(a->dtype), size_b = dtype_bytes(b->dtype);
    struct search search = {.count = 0};
    add_steps(&search, a);
    add_steps(&search, b);
    uint64_t sum = b->low - a->low + b->span_bytes - size_b; /* ≥ 0 modulo 2^64, since the spans
                                                                overlap */
    /* Elements of the same size at offsets that are multiples of it share all bytes or none; others
     * need single bytes as steps. */
    if (size_a != size_b || (b->low - a->low) % size_a != 0) {
        add_term(&search, 1, size_a - 1 + size_b - 1);
        sum += size_b - 1;
    }
    return can_give(&search, sum);
}
