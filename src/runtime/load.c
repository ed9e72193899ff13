/* Loading: verify everything, choose the code, map it, copy the params, run prepare.
 *
 * If native code cannot be used (no code for this CPU, mapping refused), the module interprets, and
 * has the reason. An invalid package or option is an error. The package's bytes are not needed
 * afterwards.
 *
 * Reading files and joining threads are cancellation points, where pthread_cancel would end the
 * thread and leak its memory and files. So cancellation is disabled here. Calls have no
 * cancellation points but the host's own callbacks, for which pool.c and fallback.c disable it. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "base/compiler.h"
#include "graph/element.h"
#include "package/graft_spec.h"
#include "package/step_spec.h"
#include "runtime/borrow.h"
#include "runtime/runtime_priv.h"

#define READ_STACK_BYTES ((size_t)2 << 20)

static const char interpreter[] = "interpreter";

static bool check_options(const urza_load_options *options, struct error *err)
{
    if (options->trust > URZA_TRUST_ALLOW_UNSIGNED)
        return fail(err, ERR_USAGE, "trust policy %d is unknown", (int)options->trust);
    if (options->trusted_key_count > 0 && !options->trusted_keys)
        return fail(err, ERR_USAGE, "trusted keys are counted but not given");
    if (options->chunks > LIMIT_THREADS)
        return fail(err, ERR_LIMIT, "%u chunks, at most %d are possible", options->chunks,
                    LIMIT_THREADS);
    if (options->threads > LIMIT_THREADS)
        return fail(err, ERR_LIMIT, "%u threads, at most %d are possible", options->threads,
                    LIMIT_THREADS);
    if (options->runtime && (options->threads > 0 || options->parallel))
        return fail(err, ERR_USAGE, "threads are those of the runtime that is given");
    if (options->most_trips < 0)
        return fail(err, ERR_USAGE, "most_trips is %lld", (long long)options->most_trips);
    return true;
}

static const struct package_target *best_target(const struct package_contents *package)
{
    const struct package_target *best = NULL;
    for (uint32_t i = 0; i < package->target_count; i++) {
        const struct package_target *target = &package->targets[i];
        if (target_supported_here(target->name) &&
            (!best || target_rank(target->name) > target_rank(best->name)))
            best = target;
    }
    return best;
}

static bool named_target(const struct package_contents *package, const char *name,
                         const struct package_target **out, struct error *err)
{
    for (uint32_t i = 0; i < package->target_count; i++) {
        if (strcmp(package->targets[i].name, name) != 0)
            continue;
        if (!target_supported_here(name))
            return fail(err, ERR_TARGET, "this CPU cannot run '%s'", name);
        *out = &package->targets[i];
        return true;
    }
    return fail(err, ERR_TARGET, "the package has no code for target '%s'", name);
}

static bool choose_target(struct urza_module *module, const char *name, struct error *err)
{
    if (name && strcmp(name, interpreter) == 0) {
        module->reason = "the interpreter was asked for";
        return true;
    }
    if (name)
        return named_target(&module->package, name, &module->target, err);
    module->target = best_target(&module->package);
    if (!module->target)
        module->reason = module->package.target_count == 0 ? "the package has no native code"
                                                           : "no code for this CPU";
    return true;
}

/* Maps the target's code and looks up all kernels; if it cannot be mapped, the module has no native
 * target. */
static void map_code(struct urza_module *module)
{
    struct error why;
    const struct package_target *target = module->target;
    if (!image_map(&module->image, target->code, target->code_bytes, &why)) {
        module->reason = arena_strdup(&module->arena, why.message);
        module->target = NULL;
        return;
    }
    module->kernels = ARENA_ARRAY(&module->arena, urza_kernel_fn *, target->kernel_count);
    for (uint32_t i = 0; i < target->kernel_count; i++) {
        const uint8_t *entry = module->image.code + target->kernel_offsets[i];
        memcpy(&module->kernels[i], &entry, sizeof entry);
    }
}

/* Adds a slot for a buffer; PLAN_NONE: one that stays empty. */
static void add_slot(struct urza_module *module, uint32_t buffer)
{
    uint32_t slot = module->slot_count++, tensor = 0;
    module->slot_buffer[slot] = buffer;
    if (buffer == PLAN_NONE)
        return;
    const struct plan_buffer *b = &module->target->plan.buffers.items[buffer];
    if (b->kind == BUFFER_OUTPUT)
        tensor = module->package.graph.inputs.count;
    if (b->kind == BUFFER_INPUT || b->kind == BUFFER_OUTPUT)
        module->patches[module->patch_count++] = (struct slot_patch){slot, tensor + b->index};
}

static void add_loop_slots(struct urza_module *module, const struct plan_loop *loop)
{
    add_slot(module, loop->iter);
    for (uint32_t i = 0; i < loop->state_count; i++) {
        add_slot(module, loop->states[i].from);
        add_slot(module, loop->states[i].state);
        add_slot(module, loop->states[i].next);
        add_slot(module, loop->states[i].result);
    }
    for (uint32_t i = 0; i < loop->row_count; i++) {
        add_slot(module, loop->rows[i].row);
        add_slot(module, loop->rows[i].result);
    }
    module->move_count += 3 * loop->state_count + loop->row_count;
}

/* The turns of a loop whose launches' arguments have the slots from `slot` on. */
static struct loop_turns loop_turns(struct arena *arena, const struct plan *plan,
                                    const struct plan_loop *loop, uint32_t slot)
{
    VEC(struct loop_turn) items = {0};
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++)
        for (uint32_t k = 0; k < plan->forward.items[i].arg_count; k++, slot++) {
            const struct plan_buffer *b = &plan->buffers.items[plan->forward.items[i].args[k]];
            struct loop_turn turn = {slot, b->turn_index, (enum plan_turn)b->turn};
            if (turn.what != TURN_NONE)
                VEC_PUSH(arena, &items, turn);
        }
    return (struct loop_turns){items.items, items.count};
}

static void make_turns(struct urza_module *module)
{
    const struct plan *plan = &module->target->plan;
    uint32_t slot = 0, next = 0;
    module->turns = ARENA_ARRAY(&module->arena, struct loop_turns, plan->loops.count + 1);
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        for (; next < plan->loops.items[i].first; next++)
            slot += plan->forward.items[next].arg_count;
        module->turns[i] = loop_turns(&module->arena, plan, &plan->loops.items[i], slot);
    }
}

/* Lays out the pointer tables of all forward launches one after the other, then those of loops, and
 * lists the slots of inputs and outputs. */
static void make_slots(struct urza_module *module)
{
    const struct plan *plan = &module->target->plan;
    struct arena *arena = &module->arena;
    uint64_t count = 0; /* LIMIT_LAUNCHES × (LIMIT_KERNEL_BUFFERS + 6 LIMIT_OPERANDS), at most */
    for (uint32_t i = 0; i < plan->forward.count; i++)
        count += plan->forward.items[i].arg_count;
    for (uint32_t i = 0; i < plan->loops.count; i++)
        count += 1 + 4 * plan->loops.items[i].state_count + 2 * plan->loops.items[i].row_count;
    module->slot_buffer = ARENA_ARRAY(arena, uint32_t, count);
    module->patches = ARENA_ARRAY(arena, struct slot_patch, count);
    module->fixed = ARENA_ARRAY(arena, void *, plan->buffers.count);
    for (uint32_t i = 0; i < plan->forward.count; i++)
        for (uint32_t k = 0; k < plan->forward.items[i].arg_count; k++)
            add_slot(module, plan->forward.items[i].args[k]);
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].in_place)
            module->in_place[plan->buffers.items[i].index] = true;
    module->loop_slots = module->slot_count;
    for (uint32_t i = 0; i < plan->loops.count; i++)
        add_loop_slots(module, &plan->loops.items[i]);
    make_turns(module);
}

static urza_tensor_info tensor_info(struct urza_module *module, const char *name, value_id value)
{
    struct arena *arena = &module->arena;
    const struct node *node = graph_node(&module->package.graph, value);
    int64_t *shape = ARENA_ARRAY(arena, int64_t, node->rank);
    const char **text = ARENA_ARRAY(arena, const char *, node->rank);
    for (uint32_t i = 0; i < node->rank; i++) {
        struct strbuf buf;
        strbuf_init(&buf, arena);
        dim_print(&module->package.graph.dims, node->shape[i], &buf);
        text[i] = buf.data;
        if (!dim_is_const(&module->package.graph.dims, node->shape[i], &shape[i]))
            shape[i] = -1;
    }
    return (urza_tensor_info){
        .name = name,
        .dtype = tensor_dtype(node->dtype),
        .rank = node->rank,
        .shape = shape,
        .dim_text = text,
    };
}

static urza_tensor_info *source_infos(struct urza_module *module, const value_id *values,
                                      uint32_t count)
{
    urza_tensor_info *infos = ARENA_ARRAY(&module->arena, urza_tensor_info, count);
    for (uint32_t i = 0; i < count; i++)
        infos[i] = tensor_info(module, graph_node(&module->package.graph, values[i])->attrs->name,
                               values[i]);
    return infos;
}

static void make_infos(struct urza_module *module)
{
    const struct graph *graph = &module->package.graph;
    module->inputs = source_infos(module, graph->inputs.items, graph->inputs.count);
    module->param_infos = source_infos(module, graph->params.items, graph->params.count);
    module->outputs = ARENA_ARRAY(&module->arena, urza_tensor_info, graph->outputs.count);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        module->outputs[i] =
            tensor_info(module, graph->outputs.items[i].name, graph->outputs.items[i].value);
    module->updates = ARENA_ARRAY(&module->arena, uint32_t, graph->outputs.count);
    module->in_place = ARENA_ARRAY(&module->arena, bool, graph->outputs.count);
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        module->updates[i] = graph_updates_input(graph, i);
    module->input_integers = ARENA_ARRAY(&module->arena, uint32_t, graph->inputs.count);
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        module->input_integers[i] = elements_of_input(graph, i);
        module->key_count +=
            graph_node(graph, graph->inputs.items[i])->rank + module->input_integers[i];
    }
    module->dim_infos = ARENA_ARRAY(&module->arena, urza_dim_info, graph->dims.names.count);
    for (uint32_t i = 0; i < graph->dims.names.count; i++) {
        const struct dim_name *dim = &graph->dims.names.items[i];
        module->dim_infos[i] =
            (urza_dim_info){dim->name, dim->min, dim->max, dim->multiple_of, dim->typical};
    }
}

/* What a step says of itself. */
static const char *step_text(struct urza_module *module)
{
    const struct step_spec *spec;
    struct strbuf text;
    struct error none;
    if (!step_spec_of(&module->package, &module->arena, &spec, &none) || !spec)
        return NULL;
    strbuf_init(&text, &module->arena);
    step_spec_print(spec, &text);
    return text.data;
}

/* What a graft says of itself; one that says it wrong is none. */
static const struct graft_spec *graft_of(struct urza_module *module)
{
    const struct graft_spec *spec;
    struct error none;
    return graft_spec_of(&module->package, &module->arena, &spec, &none) ? spec : NULL;
}

/* The bytes of a package; borrowed: they stay as they are until the module is unloaded. */
struct loading {
    const void *bytes;
    size_t size;
    bool borrowed;
};

/* The keys that options give, and those of the folder that it names. */
static bool keys_of(const urza_load_options *options, struct arena *arena, struct trusted_keys *out,
                    struct error *err)
{
    struct trusted_keys local = {NULL, 0};
    if (options->home && !keys_trusted(options->home, arena, &local, err))
        return false;
    size_t given = options->trusted_key_count, both = given + local.count;
    uint8_t(*keys)[32] = arena_array(arena, both + 1, sizeof *keys);
    if (both > UINT32_MAX)
        return fail(err, ERR_LIMIT, "%zu keys are too many", both);
    if (given > 0)
        memcpy(keys, options->trusted_keys, given * sizeof *keys);
    if (local.count > 0)
        memcpy(keys + given, local.keys, local.count * sizeof *keys);
    *out = (struct trusted_keys){(const uint8_t(*)[32])keys, (uint32_t)both};
    return true;
}

/* Fills everything that lives in the module's arena. */
static bool read_into(struct urza_module *module, const void *bytes, size_t size,
                      const urza_load_options *options, struct error *err)
{
    struct arena *arena = &module->arena;
    struct trusted_keys trusted;
    const struct trust trust = {options->trust == URZA_TRUST_ALLOW_UNSIGNED ? TRUST_ALLOW_UNSIGNED
                                                                            : TRUST_REQUIRE,
                                &trusted};
    if (!keys_of(options, arena, &trusted, err) ||
        !package_read(bytes, size, &trust, arena, &module->package, err) ||
        !choose_target(module, options->target, err))
        return false;
    make_infos(module);
    module->step_text = step_text(module);
    module->graft = graft_of(module);
    uint32_t params = module->package.graph.params.count;
    module->params = ARENA_ARRAY(arena, void *, params);
    module->pending = ARENA_ARRAY(arena, void *, params);
    if (module->target)
        map_code(module);
    if (module->target)
        make_slots(module);
    return true;
}

/* Joins the runtime, or starts threads, and makes the memory and values that are computed from
 * params. */
static bool start(struct urza_module *module, const urza_load_options *options, struct error *err)
{
    const urza_runtime_options own = {.threads = module->target ? options->threads : 1,
                                      .parallel = options->parallel,
                                      .user = options->user};
    if (module->owner != module)
        module->runtime = runtime_ref(module->owner->runtime);
    else if (options->runtime)
        module->runtime = runtime_ref(options->runtime);
    else if (!(module->runtime = runtime_new(&own, false, err)))
        return false;
    if (module->owner == module)
        atomic_fetch_add(&module->runtime->modules, 1);
    return prepare_init(module, err);
}

/* A function of its own, so that no local variable of the caller can be lost when setjmp returns a
 * second time. */
static bool read_guarded(struct urza_module *module, const void *bytes, size_t size,
                         const urza_load_options *options, struct error *err)
{
    jmp_buf out_of_memory;
    if (setjmp(out_of_memory) != 0)
        return fail(err, ERR_NOMEM, "no memory to load the package");
    module->arena.oom = &out_of_memory;
    bool ok = read_into(module, bytes, size, options, err);
    module->arena.oom = NULL;
    return ok;
}

struct reading {
    struct urza_module *module;
    const void *bytes;
    size_t size;
    const urza_load_options *options;
    bool ok;
    struct error err; /* filled if not ok */
};

static void read_package(void *argument)
{
    struct reading *reading = argument;
    struct cpu_fp before;
    cpu_fp_begin(&before); /* numbers in text must be converted in the default rounding mode */
    reading->ok = read_guarded(reading->module, reading->bytes, reading->size, reading->options,
                               &reading->err);
    cpu_fp_end(&before);
}

/* Parsing nested dims takes hundreds of kilobytes of stack. Where the calling thread has less left,
 * another thread parses. */
static bool read_aside(struct urza_module *module, const void *bytes, size_t size,
                       const urza_load_options *options, struct error *err)
{
    struct reading reading = {module, bytes, size, options, .ok = false};
    if (thread_stack_left() >= READ_STACK_BYTES ||
        !thread_run(READ_STACK_BYTES, read_package, &reading))
        read_package(&reading);
    if (!reading.ok)
        *err = reading.err;
    return reading.ok;
}

/* The training step is loaded as a module of its own, which runs on the block's threads. */
static bool load_step(struct urza_module *block, const urza_load_options *options,
                      struct error *err);

/* block: the module that this one is the training step of; NULL: none. */
static bool load(const struct loading *from, const urza_load_options *options,
                 struct urza_module *block, struct urza_module **out, struct error *err)
{
    struct urza_module *module = calloc(1, sizeof *module);
    if (!module)
        return fail(err, ERR_NOMEM, "no memory for a module");
    arena_init(&module->arena);
    module->references = 1;
    module->chunks = options->chunks;
    module->on_event = options->on_event;
    module->user = options->user;
    module->most_trips = options->most_trips;
    module->borrowed = from->borrowed;
    module->owner = block ? block : module;
    if (block && block->target)
        module->first_launch =
            block->target->plan.prepare.count + block->target->plan.forward.count;
    if (!read_aside(module, from->bytes, from->size, options, err) ||
        !start(module, options, err) ||
        (module->package.training && !load_step(module, options, err))) {
        urza_unload(module);
        return false;
    }
    *out = module;
    return true;
}

static bool load_step(struct urza_module *block, const urza_load_options *options,
                      struct error *err)
{
    urza_load_options own = *options;
    own.trust = URZA_TRUST_ALLOW_UNSIGNED; /* the block's manifest has its hash */
    own.target = block->target ? block->target->name : interpreter;
    const struct loading from = {block->package.training, block->package.training_bytes,
                                 block->borrowed};
    if (!load(&from, &own, block, &block->step, err))
        return false;
    if (!block->target) /* not because it was asked for */
        block->step->reason = block->reason;
    return training_init(block->step, block, err);
}

/* Not interrupted by the cancellation of a thread. */
static bool load_module(const struct loading *from, const urza_load_options *options,
                        struct urza_module **out, struct error *err)
{
    static const urza_load_options defaults = {.threads = 1};
    int cancel;
    if (!options)
        options = &defaults;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    bool ok = check_options(options, err) && load(from, options, NULL, out, err);
    pthread_setcancelstate(cancel, &cancel);
    return ok;
}

static bool check_bytes(const void *bytes, size_t size, urza_module **out, struct error *err)
{
    if (!out || (!bytes && size > 0))
        return fail(err, ERR_USAGE, "an argument is NULL");
    return size <= LIMIT_PACKAGE_BYTES ||
           fail(err, ERR_LIMIT, "%zu bytes are more than a package has", size);
}

int urza_load_borrowed(const void *bytes, size_t size, const urza_load_options *options,
                       urza_module **out, urza_error *err)
{
    struct error e;
    bool ok = check_bytes(bytes, size, out, &e) &&
              load_module(&(struct loading){bytes, size, true}, options, out, &e);
    return public_result(ok, &e, err);
}

void urza_try_trips(urza_module *module, int64_t most)
{
    module->tried_trips = most;
}

URZA_EXPORT int urza_load_memory(const void *bytes, size_t size, const urza_load_options *options,
                                 urza_module **out, urza_error *err)
{
    struct error e;
    if (!check_bytes(bytes, size, out, &e))
        return public_result(false, &e, err);
    /* A private copy: the bytes must not change between verifying and using them. */
    void *copy = block_new(size);
    if (!copy)
        return public_result(fail(&e, ERR_NOMEM, "no memory for %zu bytes", size), &e, err);
    if (size > 0)
        memcpy(copy, bytes, size);
    bool ok = load_module(&(struct loading){copy, size, false}, options, out, &e);
    free(copy);
    return public_result(ok, &e, err);
}

static bool load_file(const char *path, const urza_load_options *options, urza_module **out,
                      struct error *err)
{
    char *bytes;
    size_t size, limit = memory_half(); /* half of the memory, as the params are copied while the
                                           file is in memory */
    if (limit > LIMIT_PACKAGE_BYTES)
        limit = (size_t)LIMIT_PACKAGE_BYTES;
    if (!file_read(path, limit, &bytes, &size, err))
        return false;
    bool ok = load_module(&(struct loading){bytes, size, false}, options, out, err);
    free(bytes);
    return ok || fail_at(err, "%s", path);
}

URZA_EXPORT int urza_load(const char *path, const urza_load_options *options, urza_module **out,
                          urza_error *err)
{
    struct error e;
    if (!path || !out)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    bool ok = load_file(path, options, out, &e);
    pthread_setcancelstate(cancel, &cancel);
    return public_result(ok, &e, err);
}

URZA_EXPORT urza_module *urza_retain(urza_module *module)
{
    if (module)
        atomic_fetch_add(&module->references, 1);
    return module;
}

URZA_EXPORT void urza_unload(urza_module *module)
{
    if (!module || atomic_fetch_sub(&module->references, 1) != 1)
        return;
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    urza_unload(module->step);
    contexts_release(module);
    if (module->runtime && module->owner == module)
        atomic_fetch_sub(&module->runtime->modules, 1);
    runtime_unref(module->runtime);
    shapes_release(module);
    prepare_release(module);
    image_unmap(&module->image);
    arena_release(&module->arena);
    free(module);
    pthread_setcancelstate(cancel, &cancel);
}
