/* The step `stream`: non-temporal stores for results larger than the caches. Such stores need not
 * read the lines that they write, and do not evict others. A smaller result is still in a cache
 * when it is read next. So the size decides, at run time where a named dim is in it. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

#define KIB 1024

static bool reaches(struct nest *nest, const struct nest_buffer *buffer, int64_t size_kib)
{
    int64_t lo, hi;
    index_range(nest, buffer->elements, &lo, &hi);
    return buffer->role == ROLE_OUT && hi >= size_kib * KIB / (int64_t)dtype_bytes(buffer->dtype);
}

bool results_reach(struct nest *nest, int64_t size_kib)
{
    for (uint32_t i = 0; i < nest->buffers.count; i++)
        if (reaches(nest, &nest->buffers.items[i], size_kib))
            return true;
    return false;
}

static struct nest_buffer *find_result(struct nest *nest, const char *name)
{
    for (uint32_t i = 0; i < nest->buffers.count; i++)
        if (nest->buffers.items[i].role == ROLE_OUT &&
            strcmp(nest->buffers.items[i].name, name) == 0)
            return &nest->buffers.items[i];
    return NULL;
}

bool apply_stream(struct nest *nest, const struct step *step, struct error *err)
{
    struct nest_buffer *buffer = find_result(nest, step->loop);
    if (!buffer)
        return fail(err, ERR_UNSUPPORTED, "no such result");
    if (buffer->stream != EXPR_NONE || step->number < 1 ||
        step->number > config_key_most(CONFIG_STREAM))
        return fail(err, ERR_UNSUPPORTED, "from %lld KiB on, once", (long long)step->number);
    if (!reaches(nest, buffer, step->number))
        return fail(err, ERR_UNSUPPORTED, "'%s' is smaller", step->loop);
    expr_id least = index_const(nest, step->number * KIB / (int64_t)dtype_bytes(buffer->dtype));
    note_edge(nest, buffer->elements, step->number * KIB / (int64_t)dtype_bytes(buffer->dtype));
    buffer->stream = index_le(nest, least, buffer->elements)
                         ? expr_int(nest, DTYPE_BOOL, 1)
                         : expr_binary(nest, EXPR_LE, least, buffer->elements);
    return true;
}

void stream_results(struct scheduling *c, int64_t size_kib)
{
    for (uint32_t i = 0; i < c->nest->buffers.count; i++)
        if (c->nest->buffers.items[i].role == ROLE_OUT)
            take_buffer_step(c, STEP_STREAM, VAR_NONE, i, size_kib);
}
