/* Loops of a plan: checks, lifetimes, JSON, text. */
#include <inttypes.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "package/plan_priv.h"

static const struct plan_buffer *buffer_at(const struct plan *plan, uint32_t buffer)
{
    return &plan->buffers.items[buffer];
}

static bool is_result(const struct plan *plan, uint32_t buffer)
{
    uint8_t kind = buffer_at(plan, buffer)->kind;
    return kind == BUFFER_TEMP || kind == BUFFER_OUTPUT;
}

static bool same_size(const struct plan *plan, uint32_t a, uint32_t b)
{
    const struct plan_buffer *x = buffer_at(plan, a), *y = buffer_at(plan, b);
    return x->dtype == y->dtype && x->elements == y->elements;
}

static bool in_range(const struct plan *plan, uint32_t buffer, struct error *err)
{
    return buffer < plan->buffers.count ||
           fail(err, ERR_PACKAGE, "buffer %" PRIu32 " of %u", buffer, plan->buffers.count);
}

static bool check_state(const struct plan *plan, const struct plan_state *s, struct error *err)
{
    if (!in_range(plan, s->from, err) || !in_range(plan, s->state, err) ||
        !in_range(plan, s->next, err) ||
        (s->result != PLAN_NONE && !in_range(plan, s->result, err)))
        return false;
    if (buffer_at(plan, s->state)->kind != BUFFER_TEMP ||
        (s->result != PLAN_NONE && !is_result(plan, s->result)))
        return fail(err, ERR_PACKAGE, "a state or its result may not be written");
    return (same_size(plan, s->state, s->from) && same_size(plan, s->state, s->next) &&
            (s->result == PLAN_NONE || same_size(plan, s->state, s->result))) ||
           fail(err, ERR_PACKAGE, "a state's buffers differ in size");
}

static bool check_row(const struct plan *plan, const struct plan_loop *loop,
                      const struct plan_row *r, struct error *err)
{
    if (!in_range(plan, r->row, err) || !in_range(plan, r->result, err))
        return false;
    const struct plan_buffer *row = buffer_at(plan, r->row), *all = buffer_at(plan, r->result);
    if (!is_result(plan, r->result))
        return fail(err, ERR_PACKAGE, "the result of rows may not be written");
    return (row->dtype == all->dtype &&
            all->elements == dim_mul(plan->dims, loop->trips, row->elements)) ||
           fail(err, ERR_PACKAGE, "the result of rows has another size");
}

static bool is_bool(const struct plan *plan, uint32_t buffer)
{
    int64_t one = 0;
    return buffer_at(plan, buffer)->dtype == DTYPE_BOOL &&
           dim_is_const(plan->dims, buffer_at(plan, buffer)->elements, &one) && one == 1;
}

static bool check_loop(const struct plan *plan, const struct plan_loop *loop, uint32_t from,
                       struct error *err)
{
    int64_t trips = 0, one = 0, slices = 0;
    if (loop->count == 0 || loop->first < from || loop->first >= plan->forward.count ||
        loop->count > plan->forward.count - loop->first)
        return fail(err, ERR_PACKAGE, "launches %u and %u more, of %u", loop->first, loop->count,
                    plan->forward.count);
    if (loop->trips == DIM_NONE || (dim_is_const(plan->dims, loop->trips, &trips) && trips < 0))
        return fail(err, ERR_PACKAGE, "the number of trips is negative");
    if (loop->slices != DIM_NONE &&
        ((dim_is_const(plan->dims, loop->slices, &slices) && slices < 0) || loop->condition > 0))
        return fail(err, ERR_PACKAGE, "the number of slices is negative, or trips may end early");
    if (loop->iter != PLAN_NONE &&
        (!in_range(plan, loop->iter, err) || buffer_at(plan, loop->iter)->kind != BUFFER_TEMP ||
         buffer_at(plan, loop->iter)->dtype != DTYPE_I64 ||
         !dim_is_const(plan->dims, buffer_at(plan, loop->iter)->elements, &one) || one != 1))
        return fail(err, ERR_PACKAGE, "iter is no buffer of one i64");
    if (loop->condition > loop->state_count)
        return fail(err, ERR_PACKAGE, "while %u of %u states", loop->condition - 1,
                    loop->state_count);
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!check_state(plan, &loop->states[i], err))
            return fail_at(err, "state %u", i);
    if (loop->condition > 0 && !is_bool(plan, loop->states[loop->condition - 1].state))
        return fail(err, ERR_PACKAGE, "while %u: the state is no buffer of one bool",
                    loop->condition - 1);
    for (uint32_t i = 0; i < loop->row_count; i++)
        if (!check_row(plan, loop, &loop->rows[i], err))
            return fail_at(err, "row %u", i);
    return true;
}

bool plan_loops_check(const struct plan *plan, struct error *err)
{
    uint32_t from = 0;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        uint32_t loop = plan->forward.items[i].sliced ? plan_loop_of(plan, i) : 0;
        if (plan->forward.items[i].sliced &&
            (loop == 0 || plan->loops.items[loop - 1].slices == DIM_NONE))
            return fail(err, ERR_PACKAGE, "launch %u is sliced, but its loop is not", i);
    }
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        if (!check_loop(plan, loop, from, err))
            return fail_at(err, "loop %u", i);
        from = loop->first + loop->count;
    }
    return true;
}

/* Marks a buffer that copies write; launches, and other copies, may not. */
static bool take(bool *written, uint32_t buffer, struct error *err)
{
    if (written[buffer])
        return fail(err, ERR_PACKAGE, "buffer %u is written twice", buffer);
    written[buffer] = true;
    return true;
}

static bool is_given(const struct plan *plan, uint32_t buffer, const bool *written)
{
    uint8_t kind = buffer_at(plan, buffer)->kind;
    return kind == BUFFER_INPUT || kind == BUFFER_PARAM || written[buffer];
}

/* The loop that begins with, or ends behind, a launch; NULL: none. Loops are in order. */
static const struct plan_loop *loop_at(const struct plan *plan, uint32_t launch, bool begins)
{
    uint32_t index = plan_loop_of(plan, launch);
    if (index == 0)
        return NULL;
    const struct plan_loop *loop = &plan->loops.items[index - 1];
    return (begins ? loop->first : loop->first + loop->count - 1) == launch ? loop : NULL;
}

uint32_t plan_loop_of(const struct plan *plan, uint32_t launch)
{
    uint32_t low = 0, high = plan->loops.count;
    while (low < high) { /* the first loop that ends behind the launch */
        uint32_t middle = low + (high - low) / 2;
        const struct plan_loop *loop = &plan->loops.items[middle];
        if (loop->first + loop->count <= launch)
            low = middle + 1;
        else
            high = middle;
    }
    return low < plan->loops.count && plan->loops.items[low].first <= launch ? low + 1 : 0;
}

bool plan_trips(const struct plan *plan, uint32_t launch, const int64_t *dims, int64_t *out)
{
    uint32_t loop = plan_loop_of(plan, launch);
    *out = 1;
    return loop == 0 || dim_eval(plan->dims, plan->loops.items[loop - 1].trips, dims, out);
}

bool plan_loop_begin(const struct plan *plan, uint32_t launch, bool *written, struct error *err)
{
    const struct plan_loop *loop = loop_at(plan, launch, true);
    for (uint32_t i = 0; loop && i < loop->state_count; i++)
        if (!is_given(plan, loop->states[i].from, written))
            return fail(err, ERR_PACKAGE, "state %u of a loop is read before it is written", i);
    for (uint32_t i = 0; loop && i < loop->state_count; i++)
        if (!take(written, loop->states[i].state, err))
            return false;
    return !loop || loop->iter == PLAN_NONE || take(written, loop->iter, err);
}

/* Whether copies of the loop write a buffer. */
static bool is_copied(const struct plan_loop *loop, uint32_t buffer)
{
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (loop->states[i].state == buffer)
            return true;
    return loop->iter == buffer;
}

static bool check_writes(const struct plan *plan, const struct plan_loop *loop, struct error *err)
{
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            if (launch_writes(launch, k) && is_copied(loop, launch->args[k]))
                return fail(err, ERR_PACKAGE, "a launch writes buffer %u of its loop",
                            launch->args[k]);
    }
    return true;
}

bool plan_loop_end(const struct plan *plan, uint32_t launch, bool *written, struct error *err)
{
    const struct plan_loop *loop = loop_at(plan, launch, false);
    if (!loop)
        return true;
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!is_given(plan, loop->states[i].next, written))
            return fail(err, ERR_PACKAGE, "state %u of a loop has no value after a trip", i);
    for (uint32_t i = 0; i < loop->row_count; i++)
        if (!is_given(plan, loop->rows[i].row, written))
            return fail(err, ERR_PACKAGE, "row %u of a loop is not written", i);
    for (uint32_t i = 0; i < loop->row_count; i++)
        if (!take(written, loop->rows[i].result, err))
            return false;
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (loop->states[i].result != PLAN_NONE && !take(written, loop->states[i].result, err))
            return false;
    return check_writes(plan, loop, err);
}

void plan_loops_written(const struct plan *plan, uint32_t launches, bool *written)
{
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        if (loop->first + loop->count > launches)
            return;
        for (uint32_t k = 0; k < loop->row_count; k++)
            written[loop->rows[k].result] = true;
        for (uint32_t k = 0; k < loop->state_count; k++)
            if (loop->states[k].result != PLAN_NONE)
                written[loop->states[k].result] = true;
    }
}

/* Lifetimes must be known. */
static bool lives_in(const struct plan *plan, const struct plan_loop *loop, uint32_t buffer)
{
    const struct plan_buffer *b = buffer_at(plan, buffer);
    return b->kind == BUFFER_TEMP && b->first_launch >= loop->first &&
           b->last_launch < loop->first + loop->count;
}

/* Whether a temporary lives in the loop alone, and a launch of it writes it. */
static bool is_made_in(const struct plan *plan, const struct plan_loop *loop, uint32_t buffer)
{
    if (!lives_in(plan, loop, buffer))
        return false;
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            if (launch->args[k] == buffer && launch_writes(launch, k))
                return true;
    }
    return false;
}

/* How often a loop copies to or from a buffer, but for results. */
static uint32_t copies_of(const struct plan_loop *loop, uint32_t buffer)
{
    uint32_t count = loop->iter == buffer;
    for (uint32_t i = 0; i < loop->state_count; i++) {
        const struct plan_state *s = &loop->states[i];
        count += (uint32_t)(s->from == buffer) + (s->state == buffer) + (s->next == buffer);
    }
    for (uint32_t i = 0; i < loop->row_count; i++)
        count += loop->rows[i].row == buffer;
    return count;
}

static bool state_may_turn(const struct plan *plan, const struct plan_loop *loop, uint32_t state)
{
    const struct plan_state *s = &loop->states[state];
    return loop->condition != state + 1 && copies_of(loop, s->state) == 1 &&
           copies_of(loop, s->next) == 1 && lives_in(plan, loop, s->state) &&
           is_made_in(plan, loop, s->next);
}

static bool row_may_turn(const struct plan *plan, const struct plan_loop *loop, uint32_t row)
{
    uint32_t buffer = loop->rows[row].row;
    return copies_of(loop, buffer) == 1 && is_made_in(plan, loop, buffer);
}

static void live_at(struct plan *plan, uint32_t buffer, uint32_t launch)
{
    struct plan_buffer *b = &plan->buffers.items[buffer];
    if (buffer == PLAN_NONE || b->kind != BUFFER_TEMP)
        return;
    if (b->first_launch > launch)
        b->first_launch = launch;
    if (b->last_launch < launch)
        b->last_launch = launch;
}

static void loop_lifetimes(struct plan *plan, const struct plan_loop *loop)
{
    uint32_t first = loop->first, last = loop->first + loop->count - 1;
    for (uint32_t i = first; i <= last; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            if (buffer_at(plan, launch->args[k])->first_launch < first)
                live_at(plan, launch->args[k], last);
    }
    if (loop->iter != PLAN_NONE) {
        live_at(plan, loop->iter, first);
        live_at(plan, loop->iter, last);
    }
    for (uint32_t i = 0; i < loop->state_count; i++) {
        const struct plan_state *s = &loop->states[i];
        live_at(plan, s->from, first);
        live_at(plan, s->state, first);
        live_at(plan, s->state, last);
        live_at(plan, s->next, last);
        if (s->result != PLAN_NONE)
            live_at(plan, s->result, last);
    }
    for (uint32_t i = 0; i < loop->row_count; i++) {
        live_at(plan, loop->rows[i].row, last);
        live_at(plan, loop->rows[i].result, first);
        live_at(plan, loop->rows[i].result, last);
    }
}

static struct plan_buffer *turn(struct plan *plan, uint32_t buffer, enum plan_turn what,
                                uint32_t index)
{
    struct plan_buffer *b = &plan->buffers.items[buffer];
    b->turn = what;
    b->turn_index = index;
    return b;
}

/* Finds what turns. That is read in the first trip where it comes from, and written in others where
 * it goes to. */
static void find_turns(struct plan *plan, const struct plan_loop *loop)
{
    for (uint32_t i = 0; i < loop->state_count; i++) {
        const struct plan_state *s = &loop->states[i];
        if (!state_may_turn(plan, loop, i))
            continue;
        struct plan_buffer *state = turn(plan, s->state, TURN_STATE, i);
        turn(plan, s->next, TURN_NEXT, i);
        live_at(plan, s->from, loop->first + loop->count - 1);
        live_at(plan, s->next, loop->first);
        if (!plan_result_turns(plan, loop, i))
            continue;
        live_at(plan, s->result, loop->first);
        state->displaced = true;
    }
    for (uint32_t i = 0; i < loop->row_count; i++)
        if (row_may_turn(plan, loop, i))
            turn(plan, loop->rows[i].row, TURN_ROW, i)->displaced = true;
}

void plan_loops_lifetimes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->loops.count; i++)
        loop_lifetimes(plan, &plan->loops.items[i]);
    for (uint32_t i = 0; i < plan->loops.count; i++)
        find_turns(plan, &plan->loops.items[i]);
}

void plan_loops_print(const struct plan *plan, struct strbuf *out)
{
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        strbuf_printf(out, "%s{\"count\":%u,\"first\":%u", i > 0 ? "," : ",\"loops\":[",
                      loop->count, loop->first);
        if (loop->iter != PLAN_NONE)
            strbuf_printf(out, ",\"iter\":%u", loop->iter);
        strbuf_puts(out, ",\"rows\":[");
        for (uint32_t k = 0; k < loop->row_count; k++)
            strbuf_printf(out, "%s{\"result\":%u,\"row\":%u}", k > 0 ? "," : "",
                          loop->rows[k].result, loop->rows[k].row);
        strbuf_puts(out, "],");
        if (loop->slices != DIM_NONE) {
            plan_put_dim(plan, "slices", loop->slices, out);
            strbuf_puts(out, ",");
        }
        strbuf_puts(out, "\"states\":[");
        for (uint32_t k = 0; k < loop->state_count; k++) {
            const struct plan_state *s = &loop->states[k];
            strbuf_printf(out, "%s{\"from\":%u,\"next\":%u,", k > 0 ? "," : "", s->from, s->next);
            if (s->result != PLAN_NONE)
                strbuf_printf(out, "\"result\":%u,", s->result);
            strbuf_printf(out, "\"state\":%u}", s->state);
        }
        strbuf_puts(out, "],");
        plan_put_dim(plan, "trips", loop->trips, out);
        if (loop->condition > 0)
            strbuf_printf(out, ",\"while\":%u", loop->condition - 1);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, plan->loops.count > 0 ? "]" : "");
}

/* A buffer that may be left out. */
static bool get_optional(const json_t *object, const char *key, uint32_t *out, struct error *err)
{
    *out = PLAN_NONE;
    return !json_object_get(object, key) || plan_get_u32(object, key, out, err);
}

static bool parse_condition(const json_t *object, uint32_t *out, struct error *err)
{
    uint32_t index;
    if (!get_optional(object, "while", &index, err))
        return false;
    if (json_object_get(object, "while") && index >= LIMIT_OPERANDS)
        return fail(err, ERR_LIMIT, "while %u: more than %d states", index, LIMIT_OPERANDS);
    *out = index == PLAN_NONE ? 0 : index + 1;
    return true;
}

static bool parse_states(struct plan *plan, const json_t *array, struct plan_loop *out,
                         struct error *err)
{
    static const char *const keys[] = {"from", "next", "result", "state", NULL};
    size_t count = json_array_size(array);
    if (count > LIMIT_OPERANDS)
        return fail(err, ERR_LIMIT, "more than %d states", LIMIT_OPERANDS);
    struct plan_state *states = ARENA_ARRAY(plan->arena, struct plan_state, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!plan_get_u32(item, "from", &states[i].from, err) ||
            !plan_get_u32(item, "next", &states[i].next, err) ||
            !plan_get_u32(item, "state", &states[i].state, err) ||
            !get_optional(item, "result", &states[i].result, err) ||
            !json_only_keys(item, keys, err))
            return fail_at(err, "state %zu", i);
    }
    out->states = states;
    out->state_count = (uint32_t)count;
    return true;
}

static bool parse_rows(struct plan *plan, const json_t *array, struct plan_loop *out,
                       struct error *err)
{
    static const char *const keys[] = {"result", "row", NULL};
    size_t count = json_array_size(array);
    if (count > LIMIT_OPERANDS)
        return fail(err, ERR_LIMIT, "more than %d rows", LIMIT_OPERANDS);
    struct plan_row *rows = ARENA_ARRAY(plan->arena, struct plan_row, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!plan_get_u32(item, "row", &rows[i].row, err) ||
            !plan_get_u32(item, "result", &rows[i].result, err) || !json_only_keys(item, keys, err))
            return fail_at(err, "row %zu", i);
    }
    out->rows = rows;
    out->row_count = (uint32_t)count;
    return true;
}

static bool parse_loop(struct plan *plan, const json_t *object, struct plan_loop *out,
                       struct error *err)
{
    static const char *const keys[] = {"count",  "first", "iter",  "rows", "slices",
                                       "states", "trips", "while", NULL};
    json_t *states, *rows;
    if (json_object_get(object, "slices") &&
        !plan_get_dim(plan, object, "slices", &out->slices, err))
        return false;
    return plan_get_u32(object, "first", &out->first, err) &&
           plan_get_u32(object, "count", &out->count, err) &&
           get_optional(object, "iter", &out->iter, err) &&
           parse_condition(object, &out->condition, err) &&
           plan_get_dim(plan, object, "trips", &out->trips, err) &&
           json_get_array(object, "states", &states, err) &&
           json_get_array(object, "rows", &rows, err) && json_only_keys(object, keys, err) &&
           parse_states(plan, states, out, err) && parse_rows(plan, rows, out, err);
}

bool plan_loops_parse(struct plan *plan, const json_t *array, struct error *err)
{
    size_t count = json_array_size(array);
    if (count == 0 || count > LIMIT_LAUNCHES)
        return fail(err, ERR_PACKAGE, "%zu loops", count);
    for (size_t i = 0; i < count; i++) {
        struct plan_loop loop = {0};
        if (!parse_loop(plan, json_array_get(array, i), &loop, err))
            return fail_at(err, "loop %zu", i);
        VEC_PUSH(plan->arena, &plan->loops, loop);
    }
    return true;
}

void plan_loops_describe(const struct plan *plan, struct strbuf *out)
{
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        strbuf_printf(out, "loop %u: launches %u to %u, %strips ", i, loop->first,
                      loop->first + loop->count - 1, loop->condition > 0 ? "at most " : "");
        dim_print(plan->dims, loop->trips, out);
        strbuf_printf(out, ", %u states, %u rows", loop->state_count, loop->row_count);
        if (loop->slices != DIM_NONE) {
            strbuf_puts(out, ", slices ");
            dim_print(plan->dims, loop->slices, out);
        }
        if (loop->condition > 0)
            strbuf_printf(out, ", while state %u", loop->condition - 1);
        strbuf_puts(out, "\n");
    }
}
