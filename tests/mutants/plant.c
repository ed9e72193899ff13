/* Planting: the compiler is run again, and an observer damages what it has made; or the finished
 * package is read, changed, and written and signed anew. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/import/import.h"
#include "compiler/loop/loop.h"
#include "mutants.h"

bool mutation_here(struct mutation *m, const char *fmt, ...)
{
    va_list args;
    bool here = m->seen++ == m->site && !m->done;
    if (!here)
        return false;
    m->done = true;
    va_start(args, fmt);
    vsnprintf(m->place, sizeof m->place, fmt, args);
    va_end(args);
    return true;
}

/* What the observer works on: one kind, or, for counting, all of them. */
struct planting {
    const struct subject *subject;
    const struct kind *only;
    struct mutation *mutations; /* by kind, or of the only one */
    struct error *err;
    bool failed;
};

struct rule {
    const struct kind *kind;
    struct mutation *m;
};

static bool same_type(const struct node *a, const struct node *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0;
}

static value_id damage_value(struct graph *to, value_id copy, const struct graph *from,
                             value_id old, void *context, struct error *err)
{
    struct rule *rule = context;
    struct builder b = {to, err};
    (void)from;
    (void)old;
    if (rule->m->done)
        return copy;
    value_id value = rule->kind->value(rule->m, &b, copy);
    if (value != VALUE_NONE && !same_type(graph_node(to, value), graph_node(to, copy))) {
        fail(err, ERR_BUG, "kind '%s' changes a type", rule->kind->name);
        return VALUE_NONE;
    }
    return value;
}

bool graph_damage(struct graph *graph, const struct kind *kind, struct mutation *m,
                  struct arena *arena, struct error *err)
{
    struct rule rule = {kind, m};
    struct graph *to = ARENA_NEW(arena, struct graph);
    if (!graph_rewrite(to, arena, graph, damage_value, &rule, err))
        return false;
    if (m->done)
        return graph_copy_live(graph, arena, to, err);
    return true;
}

/* The nodes of the native blueprint, one after the other. */
static void damage_nodes(json_t *root, const struct kind *kind, struct mutation *m)
{
    json_t *nodes = json_object_get(root, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        json_t *node = json_array_get(nodes, i), *attrs = json_object_get(node, "attrs");
        const char *op = json_string_value(json_object_get(node, "op"));
        if (!attrs) {
            attrs = json_object();
            json_object_set_new(node, "attrs", attrs);
        }
        kind->json(m, op ? op : "", attrs);
        if (json_object_size(attrs) == 0)
            json_object_del(node, "attrs");
    }
}

static bool same_sources(const struct graph *a, const struct graph *b)
{
    if (a->inputs.count != b->inputs.count || a->params.count != b->params.count ||
        a->outputs.count != b->outputs.count)
        return false;
    for (uint32_t i = 0; i < a->outputs.count; i++) {
        const struct node *x = graph_node(a, a->outputs.items[i].value),
                          *y = graph_node(b, b->outputs.items[i].value);
        if (x->dtype != y->dtype || x->rank != y->rank)
            return false;
    }
    return true;
}

static bool damage_json(const struct subject *s, const struct kind *kind, struct mutation *m,
                        struct arena *arena, struct graph *graph, struct error *err)
{
    struct import_options import = {.folder = s->folder};
    struct blueprint *blueprint = ARENA_NEW(arena, struct blueprint);
    json_t *root = json_loads(s->json, 0, NULL);
    damage_nodes(root, kind, m);
    char *text = m->done ? json_dumps(root, 0) : NULL;
    json_decref(root);
    if (!text)
        return true;
    bool ok = blueprint_read(text, strlen(text), &import, arena, blueprint, err);
    free(text);
    if (!ok)
        return false;
    if (!same_sources(&s->graph, &blueprint->graph))
        return fail(err, ERR_SHAPE, "the damaged blueprint has other inputs or outputs");
    *graph = blueprint->graph;
    return true;
}

static const enum stage stages[MUTANT_STAGES] = {
    [MUTANT_JSON] = STAGE_READ,   [MUTANT_READ] = STAGE_READ,      [MUTANT_GRAPH] = STAGE_OPTIMISE,
    [MUTANT_NAIVE] = STAGE_LOWER, [MUTANT_LOOPS] = STAGE_SCHEDULE,
};

static bool damage_view(struct planting *p, const struct compile_view *view,
                        const struct kind *kind, struct mutation *m)
{
    if (kind->stage >= MUTANT_PLAN || stages[kind->stage] != view->stage || m->done)
        return true;
    if (kind->stage == MUTANT_JSON)
        return damage_json(p->subject, kind, m, view->arena, view->graph, p->err);
    if (kind->stage <= MUTANT_GRAPH)
        return graph_damage(view->graph, kind, m, view->arena, p->err);
    for (uint32_t i = 0; i < view->nest_count; i++)
        nest_damage(view->nests[i], kind, m);
    return true;
}

static void see(void *context, const struct compile_view *view)
{
    struct planting *p = context;
    for (uint32_t i = 0; !p->only && kind_at(i); i++)
        p->failed |= !damage_view(p, view, kind_at(i), &p->mutations[i]);
    if (p->only)
        p->failed |= !damage_view(p, view, p->only, p->mutations);
}

static bool compile(struct planting *p, struct arena *arena, struct compile_result *result)
{
    const struct subject *s = p->subject;
    struct compile_observer observer = {.see = see, .context = p};
    struct compile_options options = s->options;
    options.observer = &observer;
    return compile_graph(&(struct compile_source){&s->graph, s->params, s->json}, &options, arena,
                         result, p->err) &&
           !p->failed;
}

static bool damage_package(const struct subject *s, const struct kind *kind, struct mutation *m,
                           struct arena *arena, struct package_contents *contents,
                           struct error *err)
{
    struct trusted_keys trusted = {(const uint8_t(*)[32]) & s->key.public_key, 1};
    if (!package_read(s->package, s->package_bytes, &(struct trust){TRUST_REQUIRE, &trusted}, arena,
                      contents, err))
        return false;
    for (uint32_t i = 0; i < contents->target_count; i++) {
        struct package_damage damage = {contents, &contents->targets[i], arena};
        kind->package(m, &damage);
    }
    return true;
}

bool plant(const struct subject *s, const struct kind *kind, struct mutation *m,
           struct arena *arena, struct strbuf *out, struct error *err)
{
    if (kind->stage < MUTANT_PLAN) {
        struct planting p = {.subject = s, .only = kind, .mutations = m, .err = err};
        struct compile_result result;
        if (!compile(&p, arena, &result))
            return false;
        strbuf_add(out, result.package, result.package_bytes);
    } else {
        struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
        char id[KERNEL_ID_BYTES];
        if (!damage_package(s, kind, m, arena, contents, err) ||
            !package_write(contents, &s->key, out, id, err))
            return false;
    }
    return m->done || fail(err, ERR_BUG, "kind '%s' has no site %u", kind->name, m->site);
}

/* In a child: what proposes expressions may not leave traces in the subject. */
static void count(const void *argument, struct arena *arena, struct strbuf *out)
{
    const struct subject *s = argument;
    struct mutation *m = ARENA_ARRAY(arena, struct mutation, MAX_KINDS);
    struct error err = {0};
    struct planting p = {.subject = s, .mutations = m, .err = &err};
    struct compile_result result;
    for (uint32_t i = 0; i < MAX_KINDS; i++)
        m[i].site = SITE_NONE;
    bool ok = compile(&p, arena, &result);
    for (uint32_t i = 0; ok && kind_at(i); i++)
        if (kind_at(i)->stage >= MUTANT_PLAN)
            ok = damage_package(s, kind_at(i), &m[i], arena,
                                ARENA_NEW(arena, struct package_contents), &err);
    for (uint32_t i = 0; ok && i < MAX_KINDS; i++)
        strbuf_add(out, &m[i].seen, sizeof m[i].seen);
    if (!ok)
        strbuf_printf(out, "%s: %s", err.place, err.message);
}

bool plant_count(struct subject *s, struct error *err)
{
    struct strbuf answer;
    if (!spawn_run(count, s, 120, &s->arena, &answer, err))
        return fail_at(err, "counting sites");
    if (answer.size_bytes != sizeof s->sites)
        return fail(err, ERR_BUG, "counting sites: %s", answer.data);
    memcpy(s->sites, answer.data, sizeof s->sites);
    return true;
}
