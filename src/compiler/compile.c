/* The whole pipeline, on one screen.
 *
 *   text ─ read ─► graph ─ passes ─► graph ─ cut ─► groups ─ lower ─► nests ─ schedule ─► nests
 *                    │                                │                                     │
 *                    ▼                                ▼                                 generate
 *                 package                           plan ◄───────────── image ◄─────────────┘
 *
 * Everything behind `read` runs once per target, because layouts and schedules depend on what a
 * target can do. */
#include "compiler/compile.h"

#include <stdio.h>

#include "base/board.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/codegen/codegen.h"
#include "compiler/compile_priv.h"
#include "compiler/grad/grad.h"
#include "compiler/graft/graft.h"
#include "compiler/step/step.h"
#include "compiler/import/import.h"
#include "compiler/target/target.h"
#include "graph/build.h"
#include "package/step_spec.h"

/* Adds the time since the last call to a stage. */
void job_lap(struct job *job, enum stage stage)
{
    uint64_t now = clock_ns();
    job->result.stages_ms[stage] += (double)(now - job->lap_ns) * 1e-6;
    job->lap_ns = now;
}

/* Whether two graphs have the same prims, dtypes and operands: a pass changed nothing. */
static bool same_graph(const struct graph *a, const struct graph *b)
{
    if (a->nodes.count != b->nodes.count)
        return false;
    for (uint32_t i = 1; i < a->nodes.count; i++) {
        const struct node *x = &a->nodes.items[i], *y = &b->nodes.items[i];
        if (x->prim != y->prim || x->dtype != y->dtype || x->operand_count != y->operand_count ||
            (x->operand_count > 0 &&
             memcmp(x->operands, y->operands, x->operand_count * sizeof *x->operands) != 0))
            return false;
    }
    return true;
}

/* Graphs between passes live in two arenas in turn, each until the pass after the next: a job that
 * kept them all would need several times the memory of the largest. An observer may keep them. */
static bool optimise(struct job *job, const struct graph *graph, struct unit *unit,
                     struct error *err)
{
    const struct target *target = unit->target;
    const struct compile_observer *observer = job->options->observer;
    const struct pass_setting setting = {target, job->verify_ir};
    struct arena *rooms[2] = {job->arena, job->arena};
    const struct graph *from = graph;
    for (int i = 0; i < 2 && !observer; i++)
        rooms[i] = arena_inside(job->arena);
    for (uint32_t i = 0; pass_at(i); i++) {
        struct arena *room = rooms[i % 2];
        if (job->options->plain && !pass_at(i)->needed)
            continue;
        if (room != job->arena && from->arena != room)
            arena_release(room);
        struct graph *next = ARENA_NEW(room, struct graph);
        if (!pass_run(pass_at(i), next, room, from, &setting, err))
            return false;
        if (!same_graph(from, next))
            job->result.passes |= 1u << i;
        if (observer && observer->pass)
            observer->pass(observer->context, &(struct compile_view){.stage = STAGE_OPTIMISE,
                                                                     .target = target,
                                                                     .arena = job->arena,
                                                                     .graph = next,
                                                                     .pass = pass_at(i)});
        from = next;
    }
    if (!graph_copy_live(&unit->graph, unit->arena, from, err))
        return false;
    for (int i = 0; i < 2 && !observer; i++)
        arena_release(rooms[i]);
    return !job->verify_ir || partition_check(&unit->graph, unit->arena, err);
}

static bool generate(struct job *job, struct unit *unit, struct error *err)
{
    uint32_t count = unit->codes.count;
    struct nest **nests = ARENA_ARRAY(job->arena, struct nest *, count + 1);
    uint8_t(*digests)[32] = arena_array(job->arena, count + 1, sizeof *digests);
    bool *prepare = ARENA_ARRAY(job->arena, bool, count + 1);
    struct strbuf llvm, assembly;
    strbuf_init(&llvm, job->arena);
    strbuf_init(&assembly, job->arena);
    bool all = job_dumps_all(job);
    struct code_options options = {.llvm = all ? &llvm : job_dump(job, "llvm", unit, NULL),
                                   .assembly = all ? &assembly : job_dump(job, "asm", unit, NULL),
                                   .cache = job->options->cache,
                                   .digests = (const uint8_t(*)[32])digests,
                                   .prepare = prepare,
                                   .board = job->options->board,
                                   .trust = !job->verify_ir,
                                   .threads = job->options->threads};
    for (uint32_t i = 0; i < count; i++) {
        nests[i] = unit->codes.items[i]->nest;
        memcpy(digests[i], unit->codes.items[i]->digest, sizeof digests[i]);
        prepare[i] = true;
    }
    for (uint32_t i = 0; i < unit->kernel_count; i++)
        prepare[unit->kernels[i].code] &= unit->kernels[i].group->prepare;
    for (uint32_t i = 0; i < count; i++)
        prepare[i] &= unit->codes.items[i]->group->prepare;
    const struct code_request request = {nests, count, unit->target, &options};
    if (!codegen(&request, job->arena, &unit->image, err))
        return false;
    if (all) {
        job_dump_modules(job, "llvm", unit, &llvm, "; ModuleID = ");
        job_dump_modules(job, "asm", unit, &assembly, "\t.text\n\t.file\t");
    }
    job->result.generated += unit->image.generated;
    job->result.memory_hits += unit->image.memory_hits;
    job->result.disk_hits += unit->image.disk_hits;
    return true;
}

/* Calls the observer, if there is one, with the unit after a stage. */
static void show(struct job *job, struct unit *unit, enum stage stage)
{
    const struct compile_observer *observer = job->options->observer;
    if (!observer)
        return;
    struct compile_view view = unit_view(job, unit, stage);
    if (stage == STAGE_PACKAGE)
        view.plan = &job->contents.targets[job->contents.target_count - 1].plan;
    observer->see(observer->context, &view);
}

/* What a unit needs is gone when it is planned, or several targets would take several times the
 * memory. Observers, choosers and dumps may keep it. */
static bool compile_for_target(struct job *job, const struct graph *graph,
                               const struct target *target, struct error *err)
{
    const struct compile_options *options = job->options;
    bool kept = options->observer || options->chooser || options->dump;
    struct unit unit = {
        .target = target, .arena = kept ? job->arena : arena_inside(job->arena), .graph = *graph};
    show(job, &unit, STAGE_READ);
    board_put(job->options->board, BOARD_OPTIMISE, 0, 0);
    struct graph from = unit.graph;
    if (!optimise(job, &from, &unit, err))
        return false;
    show(job, &unit, STAGE_OPTIMISE);
    job_lap(job, STAGE_OPTIMISE);
    bool ok = unit_lower(job, &unit, err);
    if (ok)
        show(job, &unit, STAGE_LOWER);
    job_lap(job, STAGE_LOWER);
    ok = ok && unit_schedule(job, &unit, err);
    if (ok) {
        show(job, &unit, STAGE_SCHEDULE);
        unit_find_in_place(&unit);
        ok = unit_specialise(job, &unit, err);
    }
    if (ok)
        unit_share(job, &unit);
    job_lap(job, STAGE_SCHEDULE);
    ok = ok && generate(job, &unit, err);
    job_lap(job, STAGE_CODEGEN);
    ok = ok && unit_plan(job, &unit, err);
    if (ok)
        show(job, &unit, STAGE_PACKAGE);
    if (!kept)
        arena_release(unit.arena);
    job_lap(job, STAGE_PACKAGE);
    return ok || fail_at(err, "target '%s'", target->name);
}

static bool no_target(const char *name, struct error *err)
{
    char all[256] = "";
    for (uint32_t i = 0; target_at(i); i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", target_at(i)->name);
    }
    return fail(err, ERR_TARGET, "no target is called '%s': there are %s", name, all);
}

static bool compile_targets(struct job *job, const struct graph *graph, struct error *err)
{
    const char *list = job->options->targets;
    if (job->strategy == STRATEGY_EMERGENCY)
        return true;
    for (uint32_t i = 0; !list && target_at(i); i++)
        if (target_of_this_family(target_at(i)->name) &&
            !compile_for_target(job, graph, target_at(i), err))
            return false;
    if (list && *list == '\0')
        return fail(err, ERR_USAGE, "the list of targets is empty");
    while (list && *list) {
        char name[32];
        size_t n = strcspn(list, ",");
        if (n == 0 || n >= sizeof name)
            return fail(err, ERR_USAGE, "'%s' is not a list of targets", job->options->targets);
        memcpy(name, list, n);
        name[n] = 0;
        if (!target_find(name))
            return no_target(name, err);
        for (uint32_t i = 0; i < job->contents.target_count; i++)
            if (strcmp(job->contents.targets[i].name, name) == 0)
                return fail(err, ERR_USAGE, "target '%s' is given twice", name);
        if (!compile_for_target(job, graph, target_find(name), err))
            return false;
        list += n + (list[n] == ',');
    }
    return true;
}

static bool finish(struct job *job, struct compile_result *out, struct error *err)
{
    struct strbuf bytes;
    strbuf_init(&bytes, job->arena);
    if (!package_write(&job->contents, job->options->key, &bytes, job->result.kernel_id, err))
        return false;
    job_lap(job, STAGE_PACKAGE);
    job->result.package = bytes.data;
    job->result.package_bytes = bytes.size_bytes;
    job->result.total_ms = (double)(clock_ns() - job->start_ns) * 1e-6;
    job_dump_end(job);
    job->result.dump = job->options->dump ? job->dump.data : NULL;
    *out = job->result;
    return true;
}

static void begin(struct job *job, const struct compile_options *options, struct arena *arena)
{
    *job = (struct job){.options = options, .arena = arena, .start_ns = clock_ns()};
    job->lap_ns = job->start_ns;
    job->strategy = options->strategy ? options->strategy : STRATEGY_STANDARD;
    job->verify_ir = job->strategy >= STRATEGY_STANDARD;
    strbuf_init(&job->dump, arena);
}

struct wrt_names {
    const char **items;
    uint32_t count, capacity;
};

/* Adds the names of all floats of a list that have a gradient unless one asks for others. */
static void add_floats(struct job *job, const struct graph *graph, bool params,
                       struct wrt_names *names)
{
    const struct blueprint *blueprint = params ? job->blueprint : NULL;
    bool graft = job->blueprint && job->blueprint->graft;
    uint32_t count = params ? graph->params.count : graph->inputs.count;
    for (uint32_t i = 0; i < count; i++) {
        const struct node *n =
            graph_node(graph, params ? graph->params.items[i] : graph->inputs.items[i]);
        if (!params && graft && strcmp(n->attrs->name, GRAFT_ALPHA) == 0)
            continue;
        if (dtype_is_float((enum dtype)n->dtype) && !(blueprint && blueprint->inits[i].frozen))
            VEC_PUSH(job->arena, names, n->attrs->name);
    }
}

/* The name of the param that a name stands for. */
static const char *without_alias(const struct job *job, const char *name)
{
    for (uint32_t i = 0; job->blueprint && i < job->blueprint->alias_count; i++)
        if (strcmp(job->blueprint->aliases[i].name, name) == 0)
            return job->blueprint->aliases[i].of;
    return name;
}

/* The names of a list; without it, of all inputs and params that are trained. */
static bool names_of(struct job *job, const struct graph *graph, const char *list,
                     struct grad_training *out, struct error *err)
{
    struct wrt_names names = {0};
    const char *at = list;
    for (int params = 0; !at && params < 2; params++)
        add_floats(job, graph, params, &names);
    while (at && *at) {
        at += strspn(at, " ");
        size_t size = strcspn(at, ",");
        bool params = size == 6 && strncmp(at, "params", size) == 0;
        if (params)
            add_floats(job, graph, true, &names);
        if (size == 0 || strcmp(at + size, ",") == 0)
            return fail(err, ERR_USAGE, "'%s' is not a list of names", list);
        if (!params)
            VEC_PUSH(job->arena, &names, without_alias(job, arena_strndup(job->arena, at, size)));
        at += size + (at[size] == ',');
    }
    *out = (struct grad_training){.wrt = names.items, .wrt_count = names.count};
    if (names.count > 0)
        return true;
    return list ? fail(err, ERR_USAGE, "'%s' names nothing to differentiate", list)
                : fail(err, ERR_BLUEPRINT,
                       "no input or parameter is a float, buffers and frozen parameters apart");
}

/* The training step is a package of its own inside this one: compiled, verified and run like any
 * other. */
static bool add_training(struct job *job, const struct graph *graph, struct error *err)
{
    struct grad_training training = {0};
    struct graph *step = ARENA_NEW(job->arena, struct graph);
    struct compile_options options = *job->options;
    struct compile_result result;
    options.backward = false;
    options.first_outputs = graph->outputs.count;
    options.key = NULL;
    options.dump = job_dumps_all(job) ? NULL : options.dump;
    options.observer = NULL;
    options.kernels_only = true;
    const struct compile_source source = {.graph = step};
    if (!names_of(job, graph, job->options->wrt, &training, err))
        return fail_at(err, "the backward pass");
    training.updates = job->blueprint ? job->blueprint->running_count : 0;
    if (!grad_training_graph(step, job->arena, graph, &training, err) ||
        !compile_graph(&source, &options, job->arena, &result, err))
        return fail_at(err, "the backward pass");
    if (result.dump)
        strbuf_puts(&job->dump, result.dump);
    job->contents.training = result.package;
    job->contents.training_bytes = result.package_bytes;
    job->result.generated += result.generated;
    job->result.memory_hits += result.memory_hits;
    job->result.disk_hits += result.disk_hits;
    for (int i = 0; i < STAGE_COUNT; i++)
        job->result.stages_ms[i] += result.stages_ms[i];
    job->lap_ns = clock_ns();
    return true;
}

static bool run(struct job *job, const struct graph *graph, const struct package_param *params,
                struct compile_result *out, struct error *err)
{
    job->contents.name = graph->name;
    job->contents.compiler = compiler_version();
    job->contents.strategy = strategy_name(job->strategy);
    job->contents.params = (struct package_param *)params;
    job->contents.evidence_json = "{}";
    job->contents.evidence_bytes = 2;
    if (!guards_complete(graph, err) ||
        !graph_copy_live(&job->contents.graph, job->arena, graph, err))
        return false;
    job_warn(job, graph);
    if (!job_read_specials(job, &job->contents.graph.dims, err))
        return false;
    struct strbuf *dump = job_dump(job, "graph", NULL, NULL);
    if (dump)
        graph_print(graph, dump);
    return compile_targets(job, graph, err) &&
           (!job->options->backward || add_training(job, graph, err)) && finish(job, out, err);
}

bool compile_graph(const struct compile_source *source, const struct compile_options *options,
                   struct arena *arena, struct compile_result *out, struct error *err)
{
    struct job *job = ARENA_NEW(arena, struct job);
    begin(job, options, arena);
    job->contents.blueprint_json = source->blueprint_json ? source->blueprint_json : "{}";
    job->contents.blueprint_bytes = strlen(job->contents.blueprint_json);
    return run(job, source->graph, source->params, out, err);
}

/* Numbers that a step draws are others in each step: its seed is mixed of the caller's and the
 * number of the step, which becomes an input behind "seed". 2^20 seeds follow from one, and the
 * factor is odd, so equal ones do not come soon. */
#define SEED_FACTOR ((double)0x1E3779B97F4A7)

static value_id mix_seed(struct graph *to, value_id copy, const struct graph *from, value_id old,
                         void *context, struct error *err)
{
    struct builder b = {to, err};
    (void)context;
    if (old != from->inputs.items[from->inputs.count - 1])
        return copy;
    value_id step = graph_input(to, "step", DTYPE_I64, NULL, 0, err);
    return b_add(&b, b_mul(&b, copy, b_const(&b, DTYPE_I64, SEED_FACTOR)), step);
}

/* A block in training mode that draws numbers has "seed" as its last input. */
static bool read_step(struct job *job, struct blueprint *blueprint, struct error *err)
{
    struct graph *mixed = ARENA_NEW(job->arena, struct graph);
    if (!blueprint->draws)
        return true;
    if (!graph_rewrite(mixed, job->arena, &blueprint->graph, mix_seed, NULL, err))
        return false;
    blueprint->graph = *mixed;
    return true;
}

/* The blueprint of a whole training step takes the place of the block's. */
static bool become_step(struct job *job, struct blueprint *blueprint, struct error *err)
{
    const char *list = job->options->wrt ? job->options->wrt : "params";
    struct grad_training trained;
    struct graph *step = ARENA_NEW(job->arena, struct graph);
    uint32_t count = blueprint->running_count;
    struct step_running *running = ARENA_ARRAY(job->arena, struct step_running, count + 1);
    for (uint32_t i = 0; i < count; i++)
        running[i] =
            (struct step_running){blueprint->running[i].param, blueprint->running[i].output};
    if (!names_of(job, &blueprint->graph, list, &trained, err) || !read_step(job, blueprint, err))
        return false;
    const struct step_request request = {.optimizer = job->options->step,
                                         .loss = job->options->loss,
                                         .wrt = trained.wrt,
                                         .wrt_count = trained.wrt_count,
                                         .running = running,
                                         .running_count = count,
                                         .training = job->options->training || count > 0 ||
                                                     blueprint->draws,
                                         .reads_step = blueprint->draws};
    struct step_spec *spec = ARENA_NEW(job->arena, struct step_spec);
    if (!step_graph(step, job->arena, &blueprint->graph, &request, spec, err))
        return fail_at(err, "the training step");
    blueprint->graph = *step;
    blueprint->step = spec;
    import_graph_json(blueprint, job->arena);
    return true;
}

/* The blueprint of a graft takes the place of the seed's; params of its gate begin as zeros. */
static bool become_graft(struct job *job, struct blueprint *blueprint, struct error *err)
{
    struct graph *graft = ARENA_NEW(job->arena, struct graph);
    struct graft_spec *spec = ARENA_NEW(job->arena, struct graft_spec);
    if (!graft_spec_ask(job->options->graft, spec, err))
        return fail_at(err, "--graft");
    if (blueprint->graft)
        return fail(err, ERR_BLUEPRINT, "the blueprint is a graft already");
    if (!graft_graph(graft, job->arena, &blueprint->graph, spec, err))
        return fail_at(err, "the graft");
    uint32_t before = blueprint->graph.params.count, count = graft->params.count;
    struct param_init *inits = ARENA_ARRAY(job->arena, struct param_init, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        inits[i] = i < before ? blueprint->inits[i] : (struct param_init){.kind = INIT_ZEROS};
        inits[i].copies = i < before && spec->chunks > 1 ? spec->chunks : 0;
    }
    blueprint->inits = inits;
    blueprint->graph = *graft;
    blueprint->graft = spec;
    import_graph_json(blueprint, job->arena);
    return true;
}

bool compile_blueprint(const char *text, size_t size, const struct compile_options *options,
                       struct arena *arena, struct compile_result *out, struct error *err)
{
    struct job *job = ARENA_NEW(arena, struct job);
    struct blueprint *blueprint = ARENA_NEW(arena, struct blueprint);
    struct import_options import = {.seed = options->seed,
                                    .training = options->training,
                                    .backward = options->backward,
                                    .folder = options->folder,
                                    .fixed = options->known,
                                    .fixed_count = options->known_count};
    struct dim_name *dims = NULL;
    if (!options->kernels_only && compile_find(text, size, options, out))
        return true;
    begin(job, options, arena);
    board_put(options->board, BOARD_READ, 0, 0);
    if (options->dims && !import_dims_parse(options->dims, arena, &dims, &import.dim_count, err))
        return false;
    import.dims = dims;
    if (!blueprint_read(text, size, &import, arena, blueprint, err))
        return false;
    job->blueprint = blueprint;
    if ((options->graft && !become_graft(job, blueprint, err)) ||
        (options->step && !become_step(job, blueprint, err)))
        return false;
    uint32_t count = blueprint->graph.params.count;
    struct package_param *params = ARENA_ARRAY(arena, struct package_param, count + 1);
    for (uint32_t i = 0; i < count; i++)
        if (!blueprint_param_data(blueprint, i, options->folder, arena, &params[i], err))
            return false;
    job->read_warnings = blueprint->warnings;
    job->read_warnings_bytes = blueprint->warnings_bytes;
    job->contents.blueprint_json = blueprint->json;
    job->contents.blueprint_bytes = blueprint->json_bytes;
    job_lap(job, STAGE_READ);
    if (!run(job, &blueprint->graph, params, out, err))
        return false;
    out->cacheable = !params_read_files(blueprint);
    if (!options->kernels_only)
        compile_store(text, size, options, out);
    return true;
}
