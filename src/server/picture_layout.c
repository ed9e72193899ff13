/* A layered drawing by Sugiyama's method: layers, order inside layers, coordinates.
 *
 *     layer 0      a     b           a line that crosses a layer has an item there, as nodes
 *                  |\   /            have; all lines of a net share these: its stem
 *     layer 1      | (c)
 *                  |  |
 *     layer 2     ( d  )
 *
 * 1. A node is one layer above the first of its users, so sources are near their users. Layers are
 *    numbered from the top, and a link joins items of neighbouring layers.
 * 2. Order: each layer is sorted by the mean position of an item's neighbours in the layer above,
 *    then in the one below, a few times; the order with the fewest crossings is used.
 * 3. Coordinates: minimising squared distances from the neighbours' mean in a fixed order is an
 *    isotonic regression, solved exactly by merging blocks (pool adjacent violators).
 * 4. Everything depends on the input only, and ties are broken by position: the same input gives
 *    the same drawing. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "server/picture_priv.h"

#define NO_ITEM UINT32_MAX
#define STEM_ITEMS_MAX 8192u /* limit on items of stems */
#define ORDER_SWEEPS 16
#define PLACE_SWEEPS 40

struct item {
    uint32_t node; /* NO_ITEM: an item of a stem */
    uint32_t layer, place;
    double width, x;
    double key, weight; /* key: wanted position, or wanted x */
    bool drawn;         /* for stems: a requested line passes it */
};

/* Offsets from the items' left sides. */
struct link {
    uint32_t upper, lower;
    double upper_x, lower_x, weight;
};

/* The links of each item on one side: links[list[first[item] … first[item + 1] - 1]]. */
struct side {
    uint32_t *first, *list;
};

struct layer {
    uint32_t first, count; /* range in `order` */
    double y, height, space_below;
};

struct layering_state {
    VEC(struct item) items; /* those of nodes, then those of stems */
    VEC(struct link) links;
    struct side above, below;
    uint32_t layer_count;
    struct layer *layers;
    uint32_t *order;      /* items, layer by layer */
    uint32_t *stem;       /* by net: the first item of its stem; NO_ITEM: none */
    uint32_t *stem_count; /* by net */
    double *keys, *merged;
    struct layering_pass *passes;
};

static void find_layers(struct layering *l, struct layering_state *s, struct arena *arena)
{
    uint32_t deepest = 0;
    uint32_t *depth = ARENA_ARRAY(arena, uint32_t, l->nodes.count + 1);
    bool *joined = ARENA_ARRAY(arena, bool, l->nodes.count + 1);
    for (uint32_t i = l->lines.count; i-- > 0;) {
        uint32_t from = l->nets.items[l->lines.items[i].net].from, to = l->lines.items[i].to;
        assert(from < to && (i == 0 || l->lines.items[i - 1].to <= to));
        joined[from] = joined[to] = true;
        if (depth[from] < depth[to] + 1)
            depth[from] = depth[to] + 1;
        if (deepest < depth[from])
            deepest = depth[from];
    }
    for (uint32_t i = 0; i < l->nodes.count; i++) {
        struct layering_node *node = &l->nodes.items[i];
        node->layer = node->first || !joined[i] ? 0 : deepest - depth[i];
    }
    s->layer_count = deepest + 1;
}

static void add_item(struct layering_state *s, struct arena *arena, uint32_t node, uint32_t layer,
                     double width)
{
    struct item item = {.node = node, .layer = layer, .width = width};
    VEC_PUSH(arena, &s->items, item);
}

/* Adds the items of nodes, then those of each net's stem, which ends one layer above its lowest
 * target. */
static void add_items(struct layering *l, struct layering_state *s, struct arena *arena)
{
    uint32_t room = STEM_ITEMS_MAX;
    uint32_t *lowest = ARENA_ARRAY(arena, uint32_t, l->nets.count + 1);
    s->stem = ARENA_ARRAY(arena, uint32_t, l->nets.count + 1);
    s->stem_count = ARENA_ARRAY(arena, uint32_t, l->nets.count + 1);
    for (uint32_t i = 0; i < l->nodes.count; i++)
        add_item(s, arena, i, l->nodes.items[i].layer, l->nodes.items[i].width);
    for (uint32_t i = 0; i < l->lines.count; i++) {
        const struct layering_line *line = &l->lines.items[i];
        uint32_t layer = l->nodes.items[line->to].layer;
        if (lowest[line->net] < layer)
            lowest[line->net] = layer;
    }
    for (uint32_t i = 0; i < l->nets.count; i++) {
        uint32_t top = l->nodes.items[l->nets.items[i].from].layer + 1;
        uint32_t count = lowest[i] > top ? lowest[i] - top : 0;
        s->stem[i] = NO_ITEM;
        if (count == 0 || count > room)
            continue;
        room -= count;
        s->stem[i] = s->items.count;
        s->stem_count[i] = count;
        for (uint32_t k = 0; k < count; k++)
            add_item(s, arena, NO_ITEM, top + k, 0);
    }
}

/* The item from which a line of this net enters a layer; the node's own if it has no stem.
 */
static uint32_t item_above(const struct layering *l, const struct layering_state *s, uint32_t net,
                           uint32_t layer)
{
    uint32_t from = l->nets.items[net].from, top = l->nodes.items[from].layer + 1;
    return layer <= top || s->stem[net] == NO_ITEM ? from : s->stem[net] + (layer - 1 - top);
}

static void add_link(struct layering *l, struct layering_state *s, struct arena *arena,
                     uint32_t net, uint32_t lower, double lower_x)
{
    uint32_t upper = item_above(l, s, net, s->items.items[lower].layer);
    const struct item *a = &s->items.items[upper], *b = &s->items.items[lower];
    struct link link = {upper, lower, a->node == NO_ITEM ? 0 : l->nets.items[net].x, lower_x, 1};
    if (a->layer + 1 != b->layer)
        return; /* the line has no stem */
    link.weight =
        l->nets.items[net].weight * (a->node == NO_ITEM ? 4 : 1) * (b->node == NO_ITEM ? 4 : 1);
    VEC_PUSH(arena, &s->links, link);
}

static struct side make_side(const struct layering_state *s, struct arena *arena, bool upper)
{
    struct side side = {ARENA_ARRAY(arena, uint32_t, s->items.count + 2),
                        ARENA_ARRAY(arena, uint32_t, s->links.count + 1)};
    /* Counts are stored two places further and advanced while filling, so that in the end first[i]
     * is the start of each list. */
    for (uint32_t i = 0; i < s->links.count; i++)
        side.first[2 + (upper ? s->links.items[i].upper : s->links.items[i].lower)]++;
    for (uint32_t i = 1; i < s->items.count + 2; i++)
        side.first[i] += side.first[i - 1];
    for (uint32_t i = 0; i < s->links.count; i++)
        side.list[side.first[1 + (upper ? s->links.items[i].upper : s->links.items[i].lower)]++] =
            i;
    return side;
}

static void add_links(struct layering *l, struct layering_state *s, struct arena *arena)
{
    for (uint32_t i = 0; i < l->nets.count; i++)
        for (uint32_t k = 0; k < s->stem_count[i]; k++)
            add_link(l, s, arena, i, s->stem[i] + k, 0);
    for (uint32_t i = 0; i < l->lines.count; i++)
        add_link(l, s, arena, l->lines.items[i].net, l->lines.items[i].to, l->lines.items[i].x);
    s->above = make_side(s, arena, false);
    s->below = make_side(s, arena, true);
}

static void first_order(struct layering_state *s, struct arena *arena)
{
    s->layers = ARENA_ARRAY(arena, struct layer, s->layer_count + 1);
    s->order = ARENA_ARRAY(arena, uint32_t, s->items.count + 1);
    for (uint32_t i = 0; i < s->items.count; i++)
        s->layers[s->items.items[i].layer + 1].first++;
    for (uint32_t i = 1; i <= s->layer_count; i++)
        s->layers[i].first += s->layers[i - 1].first;
    for (uint32_t i = 0; i < s->items.count; i++) {
        struct layer *layer = &s->layers[s->items.items[i].layer];
        s->items.items[i].place = layer->count;
        s->order[layer->first + layer->count++] = i;
    }
}

/* The position of a link's end in its layer: items are 1 apart, the ports of one item less. */
static double end_place(const struct item *item, double x)
{
    return item->place + (item->width > 0 ? 0.9 * x / item->width : 0.45);
}

struct ranked {
    double key, second;
    uint32_t index;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->second != y->second)
        return x->second < y->second ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void sort_layer(struct layering_state *s, uint32_t index, bool by_above,
                       struct ranked *ranked)
{
    const struct layer *layer = &s->layers[index];
    const struct side *side = by_above ? &s->above : &s->below;
    uint32_t *order = s->order + layer->first;
    for (uint32_t i = 0; i < layer->count; i++) {
        const struct item *item = &s->items.items[order[i]];
        uint32_t first = side->first[order[i]], end = side->first[order[i] + 1];
        double sum = 0;
        for (uint32_t k = first; k < end; k++) {
            const struct link *link = &s->links.items[side->list[k]];
            sum += by_above ? end_place(&s->items.items[link->upper], link->upper_x)
                            : end_place(&s->items.items[link->lower], link->lower_x);
        }
        double key = end > first ? sum / (end - first) : item->place + 0.45;
        ranked[i] = (struct ranked){key, item->place, order[i]};
    }
    qsort(ranked, layer->count, sizeof *ranked, compare_ranked);
    for (uint32_t i = 0; i < layer->count; i++) {
        order[i] = ranked[i].index;
        s->items.items[order[i]].place = i;
    }
}

/* Sorts the keys and counts the inversions. */
static uint64_t count_inversions(double *keys, double *merged, size_t count)
{
    if (count < 2)
        return 0;
    size_t half = count / 2, left = 0, right = half;
    uint64_t found =
        count_inversions(keys, merged, half) + count_inversions(keys + half, merged, count - half);
    for (size_t i = 0; i < count; i++) {
        bool take_right = left == half || (right < count && keys[right] < keys[left]);
        found += take_right ? half - left : 0;
        merged[i] = take_right ? keys[right++] : keys[left++];
    }
    for (size_t i = 0; i < count; i++)
        keys[i] = merged[i];
    return found;
}

static uint64_t count_crossings(struct layering_state *s, struct ranked *ranked)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i + 1 < s->layer_count; i++) {
        uint32_t count = 0;
        for (uint32_t k = 0; k < s->layers[i].count; k++) {
            uint32_t item = s->order[s->layers[i].first + k];
            for (uint32_t m = s->below.first[item]; m < s->below.first[item + 1]; m++) {
                const struct link *link = &s->links.items[s->below.list[m]];
                ranked[count] =
                    (struct ranked){end_place(&s->items.items[item], link->upper_x),
                                    end_place(&s->items.items[link->lower], link->lower_x), count};
                count++;
            }
        }
        qsort(ranked, count, sizeof *ranked, compare_ranked);
        for (uint32_t k = 0; k < count; k++)
            s->keys[k] = ranked[k].second;
        found += count_inversions(s->keys, s->merged, count);
    }
    return found;
}

static void find_order(struct layering_state *s, struct arena *arena)
{
    uint32_t most = s->items.count > s->links.count ? s->items.count : s->links.count;
    struct ranked *ranked = ARENA_ARRAY(arena, struct ranked, most + 1);
    uint32_t *best = ARENA_ARRAY(arena, uint32_t, s->items.count + 1);
    s->keys = ARENA_ARRAY(arena, double, most + 1);
    s->merged = ARENA_ARRAY(arena, double, most + 1);
    uint64_t fewest = UINT64_MAX;
    for (uint32_t sweep = 0; sweep < ORDER_SWEEPS && fewest > 0; sweep++) {
        for (uint32_t i = 1; i < s->layer_count; i++)
            sort_layer(s, sweep % 2 ? i : s->layer_count - 1 - i, sweep % 2, ranked);
        uint64_t crossings = count_crossings(s, ranked);
        if (crossings >= fewest)
            continue;
        fewest = crossings;
        memcpy(best, s->order, s->items.count * sizeof *best);
    }
    memcpy(s->order, best, s->items.count * sizeof *best);
    for (uint32_t i = 0; i < s->layer_count; i++)
        for (uint32_t k = 0; k < s->layers[i].count; k++)
            s->items.items[s->order[s->layers[i].first + k]].place = k;
}

/* Adds the weighted wishes for an item's x, from its links on one side, to sum and weight. */
static void add_wish(const struct layering_state *s, uint32_t item, bool above, double *sum,
                     double *weight)
{
    const struct side *side = above ? &s->above : &s->below;
    for (uint32_t k = side->first[item]; k < side->first[item + 1]; k++) {
        const struct link *link = &s->links.items[side->list[k]];
        double x = above ? s->items.items[link->upper].x + link->upper_x - link->lower_x
                         : s->items.items[link->lower].x + link->lower_x - link->upper_x;
        *sum += link->weight * x;
        *weight += link->weight;
    }
}

struct block {
    double sum, weight;
    uint32_t count;
};

/* Sets the x of a layer's items, in order and without overlap, at the least weighted squared
 * distance from item.key. x minus the widths of the items before must not decrease: isotonic
 * regression. */
static void spread(struct layering_state *s, const struct layer *layer, double space,
                   struct block *blocks)
{
    const uint32_t *order = s->order + layer->first;
    uint32_t count = 0;
    double offset = 0;
    for (uint32_t i = 0; i < layer->count; i++) {
        const struct item *item = &s->items.items[order[i]];
        blocks[count++] = (struct block){item->weight * (item->key - offset), item->weight, 1};
        while (count > 1 && blocks[count - 2].sum * blocks[count - 1].weight >=
                                blocks[count - 1].sum * blocks[count - 2].weight) {
            blocks[count - 2].sum += blocks[count - 1].sum;
            blocks[count - 2].weight += blocks[count - 1].weight;
            blocks[count - 2].count += blocks[count - 1].count;
            count--;
        }
        offset += item->width + space;
    }
    offset = 0;
    for (uint32_t b = 0, i = 0; b < count; b++)
        for (uint32_t k = 0; k < blocks[b].count; k++, i++) {
            struct item *item = &s->items.items[order[i]];
            item->x = blocks[b].sum / blocks[b].weight + offset;
            offset += item->width + space;
        }
}

static void find_x(struct layering *l, struct layering_state *s, struct arena *arena)
{
    struct block *blocks = ARENA_ARRAY(arena, struct block, s->items.count + 1);
    for (uint32_t i = 0; i < s->items.count; i++)
        s->items.items[i].weight = 1;
    for (uint32_t sweep = 0; sweep < PLACE_SWEEPS; sweep++) {
        for (uint32_t n = 0; n < s->layer_count; n++) {
            const struct layer *layer = &s->layers[sweep % 2 ? s->layer_count - 1 - n : n];
            for (uint32_t i = 0; i < layer->count; i++) {
                uint32_t at = s->order[layer->first + i];
                double sum = 0, weight = 0;
                bool both = sweep >= PLACE_SWEEPS / 4;
                if (both || sweep % 2 == 0)
                    add_wish(s, at, true, &sum, &weight);
                if (both || sweep % 2 == 1)
                    add_wish(s, at, false, &sum, &weight);
                struct item *item = &s->items.items[at];
                item->key = weight > 0 ? sum / weight : item->x;
                item->weight = weight > 0 ? weight : 0.01;
            }
            spread(s, layer, l->space_x, blocks);
        }
    }
    double left = INFINITY;
    for (uint32_t i = 0; i < s->items.count; i++)
        left = fmin(left, floor(s->items.items[i].x + 0.5));
    l->width = 0;
    for (uint32_t i = 0; i < s->items.count; i++) {
        struct item *item = &s->items.items[i];
        item->x = floor(item->x + 0.5) - left;
        l->width = fmax(l->width, item->x + item->width);
    }
}

/* Places the layers below each other, with more space between where lines run far sideways. */
static void find_y(struct layering *l, struct layering_state *s)
{
    double y = 0;
    for (uint32_t i = 0; i < l->nodes.count; i++) {
        struct layer *layer = &s->layers[l->nodes.items[i].layer];
        layer->height = fmax(layer->height, l->nodes.items[i].height);
    }
    for (uint32_t i = 0; i < s->links.count; i++) {
        const struct link *k = &s->links.items[i];
        const struct item *a = &s->items.items[k->upper], *b = &s->items.items[k->lower];
        struct layer *layer = &s->layers[a->layer];
        double far = fabs(a->x + k->upper_x - b->x - k->lower_x);
        layer->space_below = fmax(layer->space_below, floor(fmin(far / 12, 48)));
    }
    for (uint32_t i = 0; i < s->layer_count; i++) {
        s->layers[i].y = y;
        l->height = y + s->layers[i].height;
        y = l->height + l->space_y + s->layers[i].space_below;
    }
    for (uint32_t i = 0; i < l->nodes.count; i++) {
        struct layering_node *node = &l->nodes.items[i];
        const struct layer *layer = &s->layers[node->layer];
        node->x = s->items.items[i].x;
        /* Sources are placed near their users. */
        bool source = s->above.first[i] == s->above.first[i + 1];
        node->y = layer->y + floor((layer->height - node->height) / (source ? 1 : 2));
    }
}

void layering_place(struct layering *layout, struct arena *arena)
{
    struct layering_state *s = ARENA_NEW(arena, struct layering_state);
    layout->state = s;
    find_layers(layout, s, arena);
    add_items(layout, s, arena);
    add_links(layout, s, arena);
    first_order(s, arena);
    find_order(s, arena);
    find_x(layout, s, arena);
    find_y(layout, s);
    s->passes = ARENA_ARRAY(arena, struct layering_pass, s->layer_count + 2);
}

uint32_t layering_passes(struct layering *layout, uint32_t index, const struct layering_pass **out)
{
    struct layering_state *s = layout->state;
    const struct layering_line *line = &layout->lines.items[index];
    const struct layering_net *net = &layout->nets.items[line->net];
    const struct layering_node *from = &layout->nodes.items[net->from];
    const struct layering_node *to = &layout->nodes.items[line->to];
    struct layering_pass *pass = s->passes + s->layer_count + 2; /* filled from its end */
    uint32_t count = 1;
    bool joined = false;
    *--pass = (struct layering_pass){to->x + line->x, s->layers[to->layer].y, to->y + line->y};
    for (uint32_t layer = to->layer; !joined;) {
        uint32_t above = item_above(layout, s, line->net, layer);
        struct item *item = &s->items.items[above];
        const struct layer *at = &s->layers[item->layer];
        if (item->node == NO_ITEM) {
            *--pass = (struct layering_pass){item->x, at->y, at->y + at->height};
            if (item->drawn)
                pass->top = pass->bottom;
            joined = item->drawn;
            item->drawn = true;
            layer--;
        } else {
            double x = from->x + net->x;
            *--pass = (struct layering_pass){x, from->y + net->y, at->y + at->height};
            joined = true;
        }
        count++;
    }
    *out = pass;
    return count;
}
