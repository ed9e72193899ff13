/* Origins, interned.
 *
 * Two origins are a pair, so joining them costs the same whatever they hold; names are only
 * gathered where somebody wants to read them. Ids of a pair's parts are smaller than its own, so
 * gathering is a few walks over what is below an origin, in the order of ids; no depth costs a C
 * stack. */
#include "graph/graph.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SEED_NAME 1
#define SEED_PAIR 2

struct origin_mark {
    uint32_t set, walk; /* the last set that has the node; the last walk that came by, and its … */
    bool certain;       /* no alternative lies between the root and this */
    bool known;         /* a name below is in the set */
    bool meant;
};

static bool same(const struct origin *a, const struct origin *b)
{
    if (!a->name || !b->name)
        return a->name == b->name && a->first == b->first && a->second == b->second &&
               a->either == b->either;
    return strcmp(a->name, b->name) == 0;
}

static origin_id intern(struct graph *graph, uint64_t hash, struct origin origin)
{
    struct origins *o = &graph->origins;
    uint32_t cursor = 0, id;
    while (map_next(&o->interned, hash, &cursor, &id))
        if (same(&o->items.items[id], &origin))
            return id;
    if (o->items.count == 0)
        VEC_PUSH(graph->arena, &o->items, ((struct origin){.name = NULL}));
    if (origin.name)
        origin.name = arena_strdup(graph->arena, origin.name);
    id = o->items.count;
    VEC_PUSH(graph->arena, &o->items, origin);
    map_add(&o->interned, graph->arena, hash, id);
    return id;
}

origin_id origin_of_node(struct graph *graph, const char *name, origin_id inside)
{
    char text[LIMIT_NAME + 2];
    const char *around = inside == ORIGIN_NONE ? NULL : graph->origins.items.items[inside].name;
    if (name[0] == '\0')
        return inside;
    snprintf(text, sizeof text, "%s%s%s", around ? around : "", around ? "/" : "", name);
    size_t size = strlen(text);
    if (size > LIMIT_NAME) {
        size = LIMIT_NAME;
        while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
            size--;
        text[size] = '\0';
    }
    return intern(graph, hash64(text, size, SEED_NAME), (struct origin){.name = text});
}

/* Whether whole is such a pair with part in it, or part itself. */
static bool covers(const struct graph *graph, origin_id whole, origin_id part, bool either)
{
    if (part == ORIGIN_NONE || whole == part)
        return true;
    if (whole == ORIGIN_NONE)
        return false;
    const struct origin *w = &graph->origins.items.items[whole];
    return w->either == either && (w->first == part || w->second == part);
}

static origin_id join(struct graph *graph, origin_id a, origin_id b, bool either)
{
    if (covers(graph, a, b, either))
        return a;
    if (covers(graph, b, a, either))
        return b;
    struct origin pair = {.first = a < b ? a : b, .second = a < b ? b : a, .either = either};
    uint64_t hash = hash64_mix(hash64_mix(SEED_PAIR + either, pair.first), pair.second);
    return intern(graph, hash, pair);
}

origin_id origin_both(struct graph *graph, origin_id a, origin_id b)
{
    return join(graph, a, b, false);
}

origin_id origin_either(struct graph *graph, origin_id a, origin_id b)
{
    return join(graph, a, b, true);
}

void origin_set_init(struct origin_set *set, const struct graph *graph, struct arena *arena)
{
    *set = (struct origin_set){.graph = graph, .arena = arena, .set = 1};
}

void origin_set_clear(struct origin_set *set)
{
    set->set++;
    set->names.count = 0;
}

static void make_room(struct origin_set *set)
{
    uint32_t count = set->graph->origins.items.count;
    if (count <= set->room)
        return;
    struct origin_mark *marks = ARENA_ARRAY(set->arena, struct origin_mark, 2 * (size_t)count);
    if (set->room > 0)
        memcpy(marks, set->marks, set->room * sizeof *marks);
    set->marks = marks;
    set->room = 2 * count;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int larger_first(const void *a, const void *b)
{
    origin_id x = *(const origin_id *)a, y = *(const origin_id *)b;
    return (x < y) - (x > y);
}

/* Puts an origin among those that this walk looks at. */
static void look_at(struct origin_set *set, origin_id origin)
{
    struct origin_mark *mark = &set->marks[origin];
    if (origin == ORIGIN_NONE || mark->walk == set->walk)
        return;
    *mark = (struct origin_mark){.set = mark->set, .walk = set->walk};
    VEC_PUSH(set->arena, &set->open, origin);
}

/* All that is below an origin, and itself, the larger ids first. */
static void look_below(struct origin_set *set, origin_id origin)
{
    set->walk++;
    set->open.count = 0;
    look_at(set, origin);
    for (uint32_t i = 0; i < set->open.count; i++) {
        const struct origin *o = &set->graph->origins.items.items[set->open.items[i]];
        look_at(set, o->first);
        look_at(set, o->second);
    }
    qsort(set->open.items, set->open.count, sizeof *set->open.items, larger_first);
}

static void add_name(struct origin_set *set, origin_id node)
{
    if (set->marks[node].set == set->set)
        return;
    set->marks[node].set = set->set;
    VEC_PUSH(set->arena, &set->names, set->graph->origins.items.items[node].name);
}

/* Of each pair, which parts are meant. */
static void choose(struct origin_set *set)
{
    const struct origin *items = set->graph->origins.items.items;
    struct origin_mark *marks = set->marks;
    for (uint32_t i = set->open.count; i-- > 0;) {
        const struct origin *o = &items[set->open.items[i]];
        struct origin_mark *mark = &marks[set->open.items[i]];
        mark->known =
            o->name ? mark->set == set->set : marks[o->first].known || marks[o->second].known;
    }
    for (uint32_t i = 0; i < set->open.count; i++) {
        const struct origin *o = &items[set->open.items[i]];
        const struct origin_mark *mark = &marks[set->open.items[i]];
        bool all = !o->either || !mark->known;
        if (!mark->meant || o->name)
            continue;
        marks[o->first].meant |= all || marks[o->first].known;
        marks[o->second].meant |= all || marks[o->second].known;
    }
}

void origin_set_add(struct origin_set *set, origin_id origin)
{
    const struct origin *items = set->graph->origins.items.items;
    uint32_t before = set->names.count;
    if (origin == ORIGIN_NONE)
        return;
    make_room(set);
    look_below(set, origin);
    set->marks[origin].certain = set->marks[origin].meant = true;
    for (uint32_t i = 0; i < set->open.count; i++) {
        const struct origin *o = &items[set->open.items[i]];
        if (!set->marks[set->open.items[i]].certain || o->either)
            continue;
        if (o->name)
            add_name(set, set->open.items[i]);
        else
            set->marks[o->first].certain = set->marks[o->second].certain = true;
    }
    choose(set);
    for (uint32_t i = 0; i < set->open.count; i++)
        if (items[set->open.items[i]].name && set->marks[set->open.items[i]].meant)
            add_name(set, set->open.items[i]);
    qsort(set->names.items + before, set->names.count - before, sizeof *set->names.items,
          compare_names);
}
