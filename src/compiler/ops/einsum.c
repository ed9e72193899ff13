/* einsum: "ij,jk->ik". Operands join one after the other, from the left; each join is one
 * `contract` after transposes bring both sides into its order [batch, own, summed].
 *
 * 1. A term is a value with one label per dim, and no label twice.
 * 2. A label is summed as soon as neither the result nor a later operand has it.
 * 3. "..." stands for unnamed dims, aligned from the right. They are labels of their own, and the
 *    result has them if it contains "...". */
#include "compiler/ops/ops_priv.h"

#include <string.h>

#define ELLIPSIS 128 /* labels of "..." dims: ELLIPSIS + position from the right */

struct term {
    value_id value;
    uint32_t count;
    int labels[LIMIT_RANK];
};

static bool has_label(const struct term *term, int label)
{
    for (uint32_t i = 0; i < term->count; i++) {
        if (term->labels[i] == label) {
            return true;
        }
    }
    return false;
}

static int64_t axis_of(const struct term *term, int label)
{
    for (uint32_t i = 0; i < term->count; i++) {
        if (term->labels[i] == label) {
            return i;
        }
    }
    return -1;
}

/* Sums x over its axis. */
static value_id sum_axis(struct builder *b, value_id x, int64_t axis)
{
    return b_reduce(b, PRIM_REDUCE_SUM, x, &axis, 1, false);
}

static void remove_label(struct term *term, int64_t axis)
{
    for (uint32_t i = (uint32_t)axis; i + 1 < term->count; i++) {
        term->labels[i] = term->labels[i + 1];
    }
    term->count--;
}

/* Where two dims have the same label, keeps the diagonal: other elements are set to 0 and one dim
 * is summed. */
static bool take_diagonals(struct builder *b, struct term *term)
{
    for (uint32_t i = 0; i < term->count; i++) {
        for (uint32_t j = i + 1; j < term->count; j++) {
            if (term->labels[i] != term->labels[j]) {
                continue;
            }
            const struct node *node = b_node(b, term->value);
            dim_id shape[LIMIT_RANK];
            memcpy(shape, node->shape, node->rank * sizeof shape[0]);
            if (shape[i] != shape[j]) {
                return fail(b->err, ERR_SHAPE, "'einsum': label '%c' names dims that differ",
                            term->labels[i]);
            }
            value_id on = b_binary(b, PRIM_EQ, b_iota(b, DTYPE_I64, shape, term->count, i),
                                   b_iota(b, DTYPE_I64, shape, term->count, j));
            value_id kept = b_select(b, on, term->value, b_const_like(b, term->value, 0));
            term->value = sum_axis(b, kept, j);
            remove_label(term, j);
            j--;
            if (term->value == VALUE_NONE) {
                return false;
            }
        }
    }
    return true;
}

/* Parses one term, up to ',', '-' or the end. rank < 0: the result, whose "..." has `dots` dims.
 */
static bool parse_term(struct op_call *call, const char **text, int rank, uint32_t dots,
                       struct term *out)
{
    int labels[2 * LIMIT_RANK], count = 0, dots_at = -1;
    for (; **text != '\0' && **text != ',' && **text != '-'; ++*text) {
        char c = **text;
        if (c == ' ') {
            continue;
        }
        if (strncmp(*text, "...", 3) == 0 && dots_at < 0) {
            dots_at = count;
            *text += 2;
        } else if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && count < LIMIT_RANK) {
            labels[count++] = c;
        } else {
            return ops_attr_fail(call, "equation", "unexpected '%c'", c);
        }
    }
    int dot_count = dots_at < 0 ? 0 : rank < 0 ? (int)dots : rank - count;
    if (dot_count < 0 || (rank >= 0 && count + dot_count != rank) ||
        count + dot_count > LIMIT_RANK) {
        return ops_attr_fail(call, "equation", "%d labels for an operand with %d dims", count,
                             rank);
    }
    out->count = 0;
    for (int i = 0; i <= count; i++) {
        for (int j = 0; i == dots_at && j < dot_count; j++) {
            out->labels[out->count++] = ELLIPSIS + dot_count - 1 - j;
        }
        if (i < count) {
            out->labels[out->count++] = labels[i];
        }
    }
    return true;
}

/* The result without "->": the "..." dims, then the letters that occur once, in alphabetical
 * order. */
static bool implied_result(struct op_call *call, const struct term *terms, uint32_t count,
                           struct term *out)
{
    out->count = 0;
    for (int label = ELLIPSIS + LIMIT_RANK; label > 0; label--) {
        int at = label >= ELLIPSIS ? label : ELLIPSIS - 1 - label;
        uint32_t uses = 0;
        for (uint32_t i = 0; i < count; i++) {
            for (uint32_t j = 0; j < terms[i].count; j++) {
                uses += terms[i].labels[j] == at;
            }
        }
        if (uses == 1 || (uses > 1 && at >= ELLIPSIS)) {
            if (out->count == LIMIT_RANK) {
                return ops_attr_fail(call, "equation", "the result has more than %d dims",
                                     LIMIT_RANK);
            }
            out->labels[out->count++] = at;
        }
    }
    return true;
}

static bool parse_equation(struct op_call *call, struct term *terms, struct term *result)
{
    const char *text = op_text(call, "equation");
    uint32_t dots = 0;
    for (uint32_t i = 0; i < call->in_count; i++) {
        terms[i].value = call->in[i];
        if (!parse_term(call, &text, (int)ops_rank(call->b, call->in[i]), 0, &terms[i])) {
            return false;
        }
        for (uint32_t j = 0; j < terms[i].count; j++) {
            uint32_t place = (uint32_t)(terms[i].labels[j] - ELLIPSIS + 1);
            dots = terms[i].labels[j] >= ELLIPSIS && place > dots ? place : dots;
        }
        bool more = i + 1 < call->in_count;
        if (more != (*text == ',')) {
            return ops_attr_fail(call, "equation", "not one term for each of %u operands",
                                 call->in_count);
        }
        text += more;
    }
    if (*text == '\0') {
        return implied_result(call, terms, call->in_count, result);
    }
    if (strncmp(text, "->", 2) != 0) {
        return ops_attr_fail(call, "equation", "expected '->'");
    }
    text += 2;
    if (!parse_term(call, &text, -1, dots, result)) {
        return false;
    }
    return *text == '\0' || ops_attr_fail(call, "equation", "unexpected '%c'", *text);
}

/* Checks that every label of the result occurs in an operand, and once in the result. */
static bool check_result(struct op_call *call, const struct term *terms, const struct term *result)
{
    for (uint32_t i = 0; i < result->count; i++) {
        bool found = false;
        for (uint32_t j = 0; j < call->in_count; j++) {
            found |= has_label(&terms[j], result->labels[i]);
        }
        for (uint32_t j = 0; j < i; j++) {
            found &= result->labels[j] != result->labels[i];
        }
        if (!found) {
            return ops_attr_fail(call, "equation", "label '%c' of the result stands %s",
                                 result->labels[i] < ELLIPSIS ? result->labels[i] : '.',
                                 "in no operand or twice");
        }
    }
    return true;
}

/* Sums labels that occur neither in the result, nor in the other term, nor in a later operand. */
static void sum_unused(struct builder *b, struct term *term, const struct term *other,
                       const struct term *later, uint32_t later_count, const struct term *result)
{
    for (uint32_t i = term->count; i-- > 0;) {
        int label = term->labels[i];
        bool needed = has_label(result, label) || (other != NULL && has_label(other, label));
        for (uint32_t j = 0; j < later_count; j++) {
            needed |= has_label(&later[j], label);
        }
        if (!needed) {
            term->value = sum_axis(b, term->value, i);
            remove_label(term, i);
        }
    }
}

/* Transposes the term's dims to the order of labels, which are all of its labels. */
static value_id in_order(struct builder *b, const struct term *term, const int *labels)
{
    uint8_t axes[LIMIT_RANK] = {0};
    bool moved = false;
    for (uint32_t i = 0; i < term->count; i++) {
        axes[i] = (uint8_t)axis_of(term, labels[i]);
        moved |= axes[i] != i;
    }
    return moved ? b_transpose(b, term->value, axes) : term->value;
}

/* x·y where nothing is summed: dims of size 1 are added for the other operand's own dims. */
static value_id multiply(struct builder *b, value_id x, value_id y, uint32_t batch, uint32_t x_own,
                         uint32_t y_own)
{
    for (uint32_t i = 0; i < y_own; i++) {
        x = b_unsqueeze(b, x, -1);
    }
    for (uint32_t i = 0; i < x_own; i++) {
        y = b_unsqueeze(b, y, batch);
    }
    return b_mul(b, x, y);
}

static bool join(struct builder *b, struct term *x, struct term *y, const struct term *later,
                 uint32_t later_count, const struct term *result)
{
    sum_unused(b, x, y, later, later_count, result);
    sum_unused(b, y, x, later, later_count, result);
    int batch[LIMIT_RANK], own[2][LIMIT_RANK], summed[LIMIT_RANK];
    uint32_t batch_count = 0, own_count[2] = {0, 0}, summed_count = 0;
    for (uint32_t i = 0; i < x->count; i++) {
        int label = x->labels[i];
        bool kept = has_label(result, label);
        for (uint32_t j = 0; j < later_count; j++) {
            kept |= has_label(&later[j], label);
        }
        if (!has_label(y, label)) {
            own[0][own_count[0]++] = label;
        } else if (kept) {
            batch[batch_count++] = label;
        } else {
            summed[summed_count++] = label;
        }
    }
    for (uint32_t i = 0; i < y->count; i++) {
        if (!has_label(x, y->labels[i])) {
            own[1][own_count[1]++] = y->labels[i];
        }
    }
    if (batch_count + own_count[0] + own_count[1] > LIMIT_RANK) {
        return fail(b->err, ERR_LIMIT, "'einsum': a product with more than %d dims", LIMIT_RANK);
    }
    value_id sides[2];
    for (int side = 0; side < 2; side++) {
        const struct term *term = side == 0 ? x : y;
        int order[LIMIT_RANK];
        uint32_t n = 0;
        for (uint32_t i = 0; i < batch_count; i++) {
            order[n++] = batch[i];
        }
        for (uint32_t i = 0; i < own_count[side]; i++) {
            order[n++] = own[side][i];
        }
        for (uint32_t i = 0; i < summed_count; i++) {
            order[n++] = summed[i];
        }
        sides[side] = in_order(b, term, order);
    }
    x->value = summed_count > 0
                   ? b_contract(b, sides[0], sides[1], batch_count, summed_count)
                   : multiply(b, sides[0], sides[1], batch_count, own_count[0], own_count[1]);
    x->count = 0;
    for (uint32_t i = 0; i < batch_count; i++) {
        x->labels[x->count++] = batch[i];
    }
    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < own_count[side]; i++) {
            x->labels[x->count++] = own[side][i];
        }
    }
    return x->value != VALUE_NONE;
}

bool expand_einsum(struct op_call *call)
{
    struct builder *b = call->b;
    struct term terms[LIMIT_OPERANDS], result = {0};
    if (!parse_equation(call, terms, &result) || !check_result(call, terms, &result)) {
        return false;
    }
    for (uint32_t i = 0; i < call->in_count; i++) {
        if (!take_diagonals(b, &terms[i])) {
            return false;
        }
    }
    for (uint32_t i = 1; i < call->in_count; i++) {
        if (!join(b, &terms[0], &terms[i], &terms[i + 1], call->in_count - i - 1, &result)) {
            return false;
        }
    }
    sum_unused(b, &terms[0], NULL, NULL, 0, &result);
    if (terms[0].value == VALUE_NONE) {
        return false;
    }
    return op_return(call, in_order(b, &terms[0], result.labels));
}
