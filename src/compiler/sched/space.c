/* The configs worth measuring, the promising ones first.
 *
 * A cost model orders them: it estimates what a tile costs in registers and loads, what its last
 * tiles waste, and from which cache operands are read again. It is good enough to drop hopeless
 * configs and to say which to measure first. Costs are cycles per vector multiply-add, for a core
 * that does two of them and two loads per cycle. */
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

#define FMA_PER_CYCLE 2.0
#define LOADS_PER_CYCLE 2.0
#define FMA_LATENCY 4.0
#define L2_BYTES_PER_CYCLE 32.0
#define L3_BYTES_PER_CYCLE 8.0
#define SPACE_MAX 4096 /* before it is cut to max */

struct scored {
    struct config config;
    double cost;
    uint32_t order; /* the first added wins among equals */
};

struct space {
    struct scheduling *c;
    struct range m, n;
    int64_t depth;
    struct scored *items;
    uint32_t count;
};

/* Elements computed per element wanted, if the last tile is not whole. */
static double waste(struct range extent, int64_t tile)
{
    if (extent.lo != extent.hi || extent.hi <= 0 || tile <= 0)
        return 1;
    return (double)((extent.hi + tile - 1) / tile * tile) / (double)extent.hi;
}

/* Cycles to read so many bytes that are part of a larger set, from the cache that holds the set. */
static double traffic(const struct target *t, double bytes, double part_of_bytes)
{
    if (part_of_bytes <= (double)t->l1_bytes * 0.75)
        return 0;
    return bytes /
           (part_of_bytes <= (double)t->l2_bytes * 0.75 ? L2_BYTES_PER_CYCLE : L3_BYTES_PER_CYCLE);
}

/* Cycles of reading a tile's operands for all of its depth, where one operand stays in a near cache
 * and the other is read past it. */
static double passing_by(const struct space *s, const struct config *config, double rows,
                         double columns)
{
    const struct target *t = s->c->target;
    double depth = (double)s->depth, m = (double)s->m.hi, n = (double)s->n.hi;
    double tile_bytes = 4 * rows * depth, panel_bytes = 4 * columns * depth;
    double block = config->value[CONFIG_ROW_BLOCK], panels = config->value[CONFIG_COLUMN_BLOCK];
    if (panels > 0) /* the tile of rows stays, panels are read */
        return traffic(t, panel_bytes, panels * panel_bytes + tile_bytes) +
               traffic(t, tile_bytes, tile_bytes + 4 * m * depth) / panels;
    double met = block > 0 && block * rows < m ? block * rows : m;
    return traffic(t, tile_bytes, 4 * met * depth + panel_bytes) +
           traffic(t, panel_bytes, panel_bytes + 4 * n * depth) * rows / met;
}

static double cost_of(const struct space *s, const struct config *config)
{
    const struct target *t = s->c->target;
    double rows = config->value[CONFIG_ROWS] > 0 ? config->value[CONFIG_ROWS] : 1;
    double columns = config->value[CONFIG_COLUMNS];
    double vectors = columns > t->lanes ? columns / t->lanes : 1, sums = rows * vectors;
    double step = sums / FMA_PER_CYCLE, loads = (rows + vectors) / LOADS_PER_CYCLE;
    step = loads > step ? loads : step;
    step = FMA_LATENCY > step ? FMA_LATENCY : step;
    double cycles = step * (double)s->depth;
    if (s->c->form == FORM_PRODUCT)
        cycles += passing_by(s, config, rows, columns);
    cycles *= waste(s->m, (int64_t)rows) * waste(s->n, (int64_t)columns);
    return cycles / (sums * (double)s->depth);
}

static void add(struct space *s, const struct config *config)
{
    if (s->count == SPACE_MAX)
        return;
    s->items[s->count] = (struct scored){*config, cost_of(s, config), s->count};
    s->count++;
}

static bool tile_fits(const struct space *s, int64_t rows, int64_t vectors)
{
    const struct target *t = s->c->target;
    int64_t columns = vectors * t->lanes, sums = rows * vectors;
    if (rows > s->m.hi || sums + vectors + 1 > t->registers ||
        (vectors > 1 && columns / 2 >= s->n.hi))
        return false;
    return sums >= 8 || s->m.hi < 8 || s->n.hi < columns;
}

/* Adds configs with blocks for the caches around one tile. */
static void add_blocks(struct space *s, const struct config *tile)
{
    int64_t rows = tile->value[CONFIG_ROWS], columns = tile->value[CONFIG_COLUMNS];
    struct config config = *tile;
    config.value[CONFIG_ROW_BLOCK] = config.value[CONFIG_COLUMN_BLOCK] = 0;
    config.value[CONFIG_PACK] = config.value[CONFIG_DEPTH] = 0;
    add(s, &config);
    if (s->c->form != FORM_PRODUCT)
        return;
    for (int32_t block = 1; block <= 64 && block * rows < s->m.hi; block *= 2) {
        config.value[CONFIG_ROW_BLOCK] = block;
        add(s, &config);
    }
    config.value[CONFIG_ROW_BLOCK] = 0;
    for (int32_t panels = 1; panels <= 64 && panels * columns < s->n.hi; panels *= 2) {
        config.value[CONFIG_COLUMN_BLOCK] = panels;
        add(s, &config);
        config.value[CONFIG_PACK] = 1;
        if (!s->c->packed)
            add(s, &config);
        config.value[CONFIG_PACK] = 0;
    }
}

static void add_tiles(struct space *s, const struct config *base)
{
    for (int32_t vectors = 1; vectors <= 8; vectors *= 2) {
        for (int32_t rows = 1; rows <= 30; rows++) {
            struct config config = *base;
            if (!tile_fits(s, rows, vectors))
                continue;
            config.value[CONFIG_ROWS] = rows;
            config.value[CONFIG_COLUMNS] = vectors * (int32_t)s->c->target->lanes;
            config.value[CONFIG_FEW_ROWS] = s->m.lo >= rows ? 0 : base->value[CONFIG_FEW_ROWS];
            if (s->m.lo < rows && config.value[CONFIG_FEW_ROWS] >= rows)
                config.value[CONFIG_FEW_ROWS] = rows / 2;
            add_blocks(s, &config);
        }
    }
}

static void add_flat(struct space *s, const struct config *base)
{
    struct config config = *base;
    int32_t lanes = (int32_t)s->c->target->lanes;
    for (int32_t factor = 0; factor <= 4; factor = factor ? 2 * factor : 1) {
        for (int32_t block = 1024; block <= 65536; block *= 4) {
            config.value[CONFIG_BLOCK] = block;
            config.value[CONFIG_LANES] = factor * lanes;
            add(s, &config);
        }
    }
}

static void add_lanes(struct space *s, const struct config *base)
{
    struct config config = *base;
    int32_t lanes = (int32_t)s->c->target->lanes;
    for (int32_t factor = 1; factor <= 8; factor *= 2) {
        config.value[CONFIG_LANES] = factor * lanes;
        add(s, &config);
    }
}

static int compare(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->cost < y->cost || x->cost > y->cost)
        return x->cost < y->cost ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static uint32_t add_other(const struct config *base, const struct config *other, struct config *out,
                          uint32_t count, uint32_t max)
{
    if (count == max || config_equal(base, other))
        return count;
    out[count] = *other;
    return count + 1;
}

/* Adds configs that the model does not cover: prefetches, and reading in the order of memory. */
static uint32_t add_readings(const struct space *s, const struct config *base, struct config *out,
                             uint32_t count, uint32_t max)
{
    struct config config = *base;
    if (s->c->form != FORM_PRODUCT || s->c->packed)
        return count;
    for (int32_t ahead = 0; ahead <= 32; ahead = ahead ? 2 * ahead : 8) {
        config.value[CONFIG_PREFETCH] = ahead;
        count = add_other(base, &config, out, count, max);
    }
    if (s->m.lo != s->m.hi || s->n.lo != s->n.hi)
        return count;
    sum_tile(s->c->target, s->m, s->n, s->depth, &config);
    for (int32_t depth = 8; depth <= 32; depth *= 2) {
        config.value[CONFIG_DEPTH] = depth;
        count = add_other(base, &config, out, count, max);
    }
    return count;
}

uint32_t sched_space(struct scheduling *c, struct config *out, uint32_t max)
{
    struct space s = {.c = c,
                      .m = loop_extent(c, c->row),
                      .n = loop_extent(c, c->column),
                      .depth = sum_depth(c->nest, &c->nest->body),
                      .items = ARENA_ARRAY(c->nest->arena, struct scored, SPACE_MAX)};
    struct config base;
    uint32_t count = 0;
    if (max == 0)
        return 0;
    sched_default(c, &base);
    if (c->form == FORM_FLAT)
        add_flat(&s, &base);
    else if (c->form == FORM_LOOPS)
        add_lanes(&s, &base);
    else
        add_tiles(&s, &base);
    if (c->form != FORM_FLAT && c->form != FORM_LOOPS)
        qsort(s.items, s.count, sizeof s.items[0], compare);
    out[count++] = base;
    count = add_readings(&s, &base, out, count, max);
    if (base.value[CONFIG_STREAM] > 0) {
        struct config near = base;
        near.value[CONFIG_STREAM] = 0;
        count = add_other(&base, &near, out, count, max);
    }
    for (uint32_t i = 0; i < s.count && count < max; i++)
        if (!config_equal(&s.items[i].config, &base))
            out[count++] = s.items[i].config;
    return count;
}
