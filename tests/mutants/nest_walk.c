/* Shows statements and expressions of a nest to a kind. */
#include "base/arena.h"
#include "compiler/loop/loop.h"
#include "mutants.h"

struct found {
    struct arena *arena;
    VEC(expr_id) exprs;
};

static void collect(struct nest *nest, expr_id e, void *context)
{
    struct found *found = context;
    (void)nest;
    VEC_PUSH(found->arena, &found->exprs, e);
}

static expr_id *field_of(struct stmt *s, enum field field)
{
    switch (field) {
    case FIELD_VALUE: return &s->value;
    case FIELD_INDEX: return &s->index;
    case FIELD_GUARD: return &s->guard;
    case FIELD_COND: return &s->cond;
    case FIELD_COUNT: break;
    }
    return NULL;
}

/* Each distinct expression of one field; operands come first. */
static void damage_field(const struct kind *kind, struct mutation *m, struct place *place,
                         enum field field)
{
    struct nest *nest = place->nest;
    expr_id *root = field_of(place->stmt, field);
    struct found found = {.arena = nest->arena};
    if (*root == EXPR_NONE)
        return;
    expr_walk(nest, *root, collect, &found);
    place->field = field;
    for (uint32_t i = 0; i < found.exprs.count && !m->done; i++) {
        expr_id e = found.exprs.items[i], value = kind->expr(m, place, e);
        if (value == EXPR_NONE || value == e ||
            expr_at(nest, value)->dtype != expr_at(nest, e)->dtype)
            continue;
        if (mutation_here(m, "%s: stmt %u, expr %u", nest->name, place->at, e))
            *root = expr_exchange(nest, *root, e, value);
    }
}

static void damage_block(const struct kind *kind, struct mutation *m, struct place *around,
                         struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count && !m->done; i++) {
        struct place place = *around;
        struct stmt *s = block->stmts.items[i];
        place.block = block;
        place.at = i;
        place.stmt = s;
        for (int field = 0; kind->expr && field < FIELD_COUNT && !m->done; field++)
            damage_field(kind, m, &place, (enum field)field);
        if (kind->stmt)
            kind->stmt(m, &place);
        if (m->done)
            return;
        if (s->kind == STMT_FOR && place.depth < sizeof place.loops / sizeof place.loops[0])
            place.loops[place.depth++] = s;
        damage_block(kind, m, &place, &s->body);
        damage_block(kind, m, &place, &s->orelse);
    }
}

void nest_damage(struct nest *nest, const struct kind *kind, struct mutation *m)
{
    struct place place = {.nest = nest};
    damage_block(kind, m, &place, &nest->body);
}
