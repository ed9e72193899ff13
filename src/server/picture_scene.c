/* Chooses what is drawn of a graph and a plan.
 *
 * With code: each launch of the plan is a frame around the values between the buffers it reads and
 * those it writes, laid out by itself; then frames, inputs and outputs are laid out as nodes,
 * joined by lines for buffers. So a value that two kernels compute is drawn in both. A param is
 * drawn inside the kernel that reads it. Without code: all values are in one drawing.
 *
 * Constants, and tensors that repeat one, have no boxes: they are written as operands.
 *
 * Bounds: BOXES_MAX boxes and LINES_MAX lines, used up in the order of drawing: launches in the
 * order in which they run, with prepare launches right before the first launch that needs them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "server/picture_priv.h"

#define BOXES_MAX 400u
#define LINES_MAX 4000u
#define NAME_COLUMNS 32u
#define KERNEL_COLUMNS 44u
#define TITLE_COLUMNS 400u
#define TITLE_BYTES 4096u /* largest part of a line of the graph's text that is used */
#define NOWHERE UINT32_MAX

/* States of a value that has no node in the group (one launch, or the whole graph). */
#define MET_LEAF (NOWHERE - 1)   /* read */
#define MET_NEEDED (NOWHERE - 2) /* read, and used by a value of the group */
#define MET_VALUE (NOWHERE - 3)  /* computed */
#define MET_ROOT (NOWHERE - 4)   /* computed and written */

struct scene {
    struct arena *arena;
    struct graph *graph;
    const struct plan *plan; /* NULL: no code */
    struct picture *picture;
    uint32_t boxes, lines; /* how many may still be drawn */
    uint32_t group;        /* the group being drawn, from 1 */
    const char **texts;    /* by value: its line of the text form, ending in \n */
    value_id *constant;    /* by value: the constant that it repeats; VALUE_NONE */
    bool *shown;           /* by value */
    uint32_t *met;         /* by value: the last group that has it */
    uint32_t *place;       /* by value: MET_… or its node, in that group */
    uint32_t *leaf;        /* by value: the buffer from which the group reads it */
    uint32_t *input_net;   /* by value: its net in the whole drawing; NOWHERE */
    uint32_t *buffer_net;  /* by buffer: its net in the whole drawing, from its last writer; NOWHERE
                            */
    VEC(value_id) list;    /* the group's values, operands first */
};

/* Prims that only move elements. */
static const bool moves[PRIM_COUNT] = {
    [PRIM_CONST] = true,     [PRIM_LITERAL] = true,   [PRIM_IOTA] = true,    [PRIM_SIZE] = true,
    [PRIM_RESHAPE] = true,   [PRIM_TRANSPOSE] = true, [PRIM_SLICE] = true,   [PRIM_PAD] = true,
    [PRIM_BROADCAST] = true, [PRIM_CONCAT] = true,    [PRIM_REVERSE] = true, [PRIM_COPY] = true,
    [PRIM_CAST] = true,      [PRIM_BITCAST] = true,   [PRIM_DETACH] = true,
};

static bool is_source(const struct scene *s, value_id value)
{
    uint8_t prim = graph_node(s->graph, value)->prim;
    return prim == PRIM_INPUT || prim == PRIM_PARAM;
}

static struct label text_label(struct scene *s, const struct strbuf *text, uint32_t columns)
{
    return label_make(s->arena, text->data, text->size_bytes, columns);
}

static void print_constant(struct scene *s, value_id value, struct strbuf *out)
{
    const struct node *node = graph_node(s->graph, value);
    if (node->prim == PRIM_SIZE)
        dim_print(&s->graph->dims, node->attrs->shape[0], out);
    else if (dtype_is_float((enum dtype)node->dtype))
        strbuf_printf(out, "%.4g", node->attrs->value);
    else if (node->dtype == DTYPE_BOOL)
        strbuf_puts(out, node->attrs->integer ? "true" : "false");
    else if (node->dtype == DTYPE_U64)
        strbuf_printf(out, "%" PRIu64, (uint64_t)node->attrs->integer);
    else
        strbuf_printf(out, "%" PRId64, node->attrs->integer);
}

/* Prints "add", or with a constant operand "max(·, 0)". */
static void print_call(struct scene *s, const struct node *node, struct strbuf *out)
{
    bool any = false;
    for (uint32_t i = 0; i < node->operand_count; i++)
        any |= s->constant[node->operands[i]] != VALUE_NONE;
    strbuf_puts(out, prim_info((enum prim)node->prim)->name);
    for (uint32_t i = 0; any && i < node->operand_count; i++) {
        value_id constant = s->constant[node->operands[i]];
        strbuf_puts(out, i == 0 ? "(" : ", ");
        if (constant == VALUE_NONE)
            strbuf_puts(out, "·");
        else
            print_constant(s, constant, out);
    }
    strbuf_puts(out, any ? ")" : "");
    if (node->prim == PRIM_CONST || node->prim == PRIM_SIZE) {
        strbuf_puts(out, " ");
        print_constant(s, (value_id)(node - s->graph->nodes.items), out);
    }
}

static struct label type_label(struct scene *s, const struct node *node)
{
    struct strbuf text;
    strbuf_init(&text, s->arena);
    strbuf_printf(&text, "%s[", dtype_name((enum dtype)node->dtype));
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&text, i > 0 ? ", " : "");
        dim_print(&s->graph->dims, node->shape[i], &text);
    }
    strbuf_puts(&text, "]");
    return text_label(s, &text, NAME_COLUMNS);
}

static uint32_t add_shape(struct scene *s, struct drawing *d, const struct shape *shape)
{
    struct layering_node node = {0};
    shape_measure(shape, &node);
    VEC_PUSH(s->arena, &d->shapes, *shape);
    VEC_PUSH(s->arena, &d->layout.nodes, node);
    return d->shapes.count - 1;
}

/* Lines from params and from prepare launches have a smaller weight. */
static uint32_t add_net(struct scene *s, struct drawing *d, uint32_t node, double x, double y)
{
    const struct shape *shape = &d->shapes.items[node];
    bool secondary = shape->kind == SHAPE_PARAM || (shape->inside && shape->inside->prepare);
    struct layering_net net = {node, x, y, secondary ? 1 : 6};
    VEC_PUSH(s->arena, &d->layout.nets, net);
    return d->layout.nets.count - 1;
}

static void add_line(struct scene *s, struct drawing *d, uint32_t net, uint32_t to, double x,
                     double y)
{
    struct layering_line line = {net, to, floor(x), y};
    if (s->lines > 0) {
        s->lines--;
        VEC_PUSH(s->arena, &d->layout.lines, line);
    } else {
        s->picture->missing_lines++;
    }
}

/* Adds a value's box, without lines; for inputs and params with their names. NOWHERE: no room. */
static uint32_t add_box(struct scene *s, struct drawing *d, value_id value, bool stored)
{
    const struct node *node = graph_node(s->graph, value);
    struct shape shape = {.kind = SHAPE_VALUE, .stored = stored};
    struct strbuf text;
    if (s->boxes == 0)
        return NOWHERE;
    s->boxes--;
    s->shown[value] = true;
    shape.type = type_label(s, node);
    strbuf_init(&text, s->arena);
    if (is_source(s, value)) {
        bool input = node->prim == PRIM_INPUT;
        shape.kind = input ? SHAPE_INPUT : SHAPE_PARAM;
        strbuf_printf(&text, "%s %s", input ? "input" : "param", node->attrs->name);
    } else {
        shape.kind = moves[node->prim] ? SHAPE_SMALL : SHAPE_VALUE;
        print_call(s, node, &text);
    }
    shape.name = text_label(s, &text, NAME_COLUMNS);
    strbuf_init(&text, s->arena);
    strbuf_printf(&text, "%%%u", value);
    shape.number = text_label(s, &text, NAME_COLUMNS);
    const char *line = s->texts[value];
    const char *end = memchr(line, '\n', strnlen(line, TITLE_BYTES));
    shape.title = label_make(
        s->arena, line, end ? (size_t)(end - line) : strnlen(line, TITLE_BYTES), TITLE_COLUMNS);
    return add_shape(s, d, &shape);
}

static uint32_t add_output(struct scene *s, struct drawing *d, uint32_t index)
{
    const struct graph_output *output = &s->graph->outputs.items[index];
    const struct node *node = graph_node(s->graph, output->value);
    struct shape shape = {.kind = SHAPE_OUTPUT};
    struct strbuf text;
    if (s->boxes == 0)
        return NOWHERE;
    s->boxes--;
    shape.type = type_label(s, node);
    strbuf_init(&text, s->arena);
    strbuf_printf(&text, "output %s", output->name);
    shape.name = text_label(s, &text, NAME_COLUMNS);
    shape.title = text_label(s, &text, TITLE_COLUMNS);
    return add_shape(s, d, &shape);
}

/* The node of a value in the group; NOWHERE if it is not drawn there. */
static uint32_t place_of(const struct scene *s, value_id value)
{
    return s->met[value] == s->group && s->place[value] < MET_ROOT ? s->place[value] : NOWHERE;
}

static void set_place(struct scene *s, struct drawing *d, value_id value, uint32_t node)
{
    s->met[value] = s->group;
    s->place[value] = node;
    /* Inside a group, nets are numbered by nodes. */
    const struct layering_node *box = &d->layout.nodes.items[node];
    add_net(s, d, node, box->width / 2, box->height);
}

/* Adds lines to a value's box from its operands, side by side; constants have none. */
static void add_operands(struct scene *s, struct drawing *d, value_id value, uint32_t to)
{
    const struct node *node = graph_node(s->graph, value);
    uint32_t count = 0, at = 0;
    for (uint32_t i = 0; i < node->operand_count; i++)
        count += s->constant[node->operands[i]] == VALUE_NONE;
    for (uint32_t i = 0; i < node->operand_count; i++) {
        value_id operand = node->operands[i];
        if (s->constant[operand] != VALUE_NONE) {
            for (; !s->shown[operand]; operand = graph_node(s->graph, operand)->operands[0]) {
                s->shown[operand] = true;
                if (operand == s->constant[operand])
                    break;
            }
            continue;
        }
        at++;
        if (place_of(s, operand) != NOWHERE)
            add_line(s, d, place_of(s, operand), to,
                     d->layout.nodes.items[to].width * at / (count + 1), 0);
    }
}

static bool draw_value(struct scene *s, struct drawing *d, value_id value, bool stored)
{
    uint32_t node = add_box(s, d, value, stored);
    if (node == NOWHERE)
        return false;
    set_place(s, d, value, node);
    add_operands(s, d, value, node);
    return true;
}

/* The net of a buffer in the whole drawing; an input is added when it is first read. */
static uint32_t buffer_source(struct scene *s, uint32_t index)
{
    const struct plan_buffer *buffer = &s->plan->buffers.items[index];
    struct drawing *whole = &s->picture->whole;
    if (buffer->kind != BUFFER_INPUT)
        return s->buffer_net[index];
    if (s->input_net[buffer->value] == NOWHERE) {
        uint32_t node = add_box(s, whole, buffer->value, false);
        if (node != NOWHERE)
            s->input_net[buffer->value] =
                add_net(s, whole, node, whole->layout.nodes.items[node].width / 2,
                        whole->layout.nodes.items[node].height);
    }
    return s->input_net[buffer->value];
}

static int compare_values(const void *a, const void *b)
{
    const value_id *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Lists the values between the leaves, which a launch reads, and the roots, which it writes; and
 * the leaves that are used. */
static void collect(struct scene *s, const struct plan_launch *launch)
{
    s->list.count = 0;
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        bool writes = launch_writes(launch, i);
        value_id value = s->plan->buffers.items[launch->args[i]].value;
        if (writes)
            continue;
        s->met[value] = s->group;
        s->place[value] = MET_LEAF;
        s->leaf[value] = launch->args[i];
    }
    for (uint32_t i = 0; i < launch->arg_count && i < 32; i++) {
        value_id value = s->plan->buffers.items[launch->args[i]].value;
        if (!launch_writes(launch, i) || s->met[value] == s->group)
            continue;
        s->met[value] = s->group;
        s->place[value] = MET_ROOT;
        VEC_PUSH(s->arena, &s->list, value);
    }
    for (uint32_t at = 0; at < s->list.count; at++) {
        value_id value = s->list.items[at];
        const struct node *node = graph_node(s->graph, value);
        for (uint32_t i = 0; s->place[value] != MET_NEEDED && i < node->operand_count; i++) {
            value_id operand = node->operands[i];
            bool met = s->met[operand] == s->group;
            if (s->constant[operand] != VALUE_NONE || (met && s->place[operand] != MET_LEAF))
                continue;
            s->place[operand] = met ? MET_NEEDED : MET_VALUE;
            s->met[operand] = s->group;
            VEC_PUSH(s->arena, &s->list, operand);
        }
    }
    if (s->list.count > 0) /* items may be NULL for an empty list */
        qsort(s->list.items, s->list.count, sizeof *s->list.items, compare_values);
}

/* Connects a kernel's inside with the whole drawing. */
struct port {
    uint32_t node, net; /* inside the kernel; in the whole drawing */
};
struct ports {
    VEC(struct port) items;
};

static uint32_t add_border(struct scene *s, struct drawing *d, bool first)
{
    struct shape shape = {.kind = SHAPE_BORDER};
    uint32_t node = add_shape(s, d, &shape);
    d->layout.nodes.items[node].first = first;
    return node;
}

/* Draws the inside of a kernel from the collected values; *in receives the ports of its reads.
 * Returns the number of values without room. */
static uint32_t draw_inside(struct scene *s, struct drawing *d, struct ports *in)
{
    uint32_t hidden = 0;
    for (uint32_t i = 0; i < s->list.count; i++) {
        value_id value = s->list.items[i];
        if (s->place[value] == MET_NEEDED && graph_node(s->graph, value)->prim != PRIM_PARAM) {
            uint32_t net = buffer_source(s, s->leaf[value]);
            if (net == NOWHERE)
                continue;
            struct port port = {add_border(s, d, true), net};
            set_place(s, d, value, port.node);
            VEC_PUSH(s->arena, &in->items, port);
        } else {
            hidden += !draw_value(s, d, value, s->place[value] == MET_ROOT);
        }
    }
    return hidden;
}

static struct label kernel_title(struct scene *s, const struct plan_launch *launch, uint32_t number,
                                 bool prepare)
{
    struct strbuf text;
    uint32_t written = 0;
    for (uint32_t i = 0; i < launch->arg_count && i < 32; i++)
        written += launch_writes(launch, i);
    strbuf_init(&text, s->arena);
    strbuf_printf(&text, "Kernel %u%s: %s; reads %u buffers, writes %u; ", number,
                  prepare ? " of those that run once at load" : "", launch->label,
                  launch->arg_count - written, written);
    dim_print(s->plan->dims, launch->code.extent, &text);
    strbuf_puts(&text, " parallel iterations, about ");
    dim_print(s->plan->dims, launch->code.work, &text);
    strbuf_puts(&text, " operations");
    return text_label(s, &text, TITLE_COLUMNS);
}

static struct label kernel_name(struct scene *s, const struct plan_launch *launch, uint32_t number,
                                bool prepare, uint32_t hidden)
{
    struct strbuf text;
    struct label label = label_make(s->arena, launch->label, strlen(launch->label), KERNEL_COLUMNS);
    strbuf_init(&text, s->arena);
    strbuf_printf(&text, "%s %u: %s", prepare ? "at load" : "kernel", number, label.xml);
    label.columns += (uint32_t)(text.size_bytes - strlen(label.xml));
    size_t before = text.size_bytes;
    if (hidden > 0)
        strbuf_printf(&text, ", values not drawn: %u", hidden);
    label.columns += (uint32_t)(text.size_bytes - before);
    label.xml = text.data;
    return label;
}

static void draw_launch(struct scene *s, const struct plan_launch *launch, uint32_t number,
                        bool prepare)
{
    struct drawing *inside, *whole = &s->picture->whole;
    struct ports in = {0};
    uint32_t outs[32];
    s->group++;
    collect(s, launch);
    if (s->list.count == 0)
        return;
    inside = ARENA_NEW(s->arena, struct drawing);
    *inside = (struct drawing){
        .framed = true, .prepare = prepare, .layout = {.space_x = 14, .space_y = 20}};
    uint32_t hidden = draw_inside(s, inside, &in);
    for (uint32_t i = 0; i < launch->arg_count && i < 32; i++) {
        value_id value = s->plan->buffers.items[launch->args[i]].value;
        outs[i] = NOWHERE;
        if (!launch_writes(launch, i) || place_of(s, value) == NOWHERE)
            continue;
        outs[i] = add_border(s, inside, false);
        add_line(s, inside, place_of(s, value), outs[i], 0, 0);
    }
    layering_place(&inside->layout, s->arena);
    struct shape shape = {.kind = SHAPE_KERNEL,
                          .name = kernel_name(s, launch, number, prepare, hidden),
                          .title = kernel_title(s, launch, number, prepare),
                          .inside = inside};
    uint32_t kernel = add_shape(s, whole, &shape);
    const struct layering_node *nodes = inside->layout.nodes.items;
    for (uint32_t i = 0; i < in.items.count; i++) {
        const struct layering_node *node = &nodes[in.items.items[i].node];
        add_line(s, whole, in.items.items[i].net, kernel, inside->x + node->x, inside->y + node->y);
    }
    for (uint32_t i = 0; i < launch->arg_count && i < 32; i++)
        if (outs[i] != NOWHERE)
            s->buffer_net[launch->args[i]] = add_net(s, whole, kernel, inside->x + nodes[outs[i]].x,
                                                     inside->y + nodes[outs[i]].y);
}

struct turn {
    uint32_t need, index; /* need: the first forward launch that needs it */
};

static int compare_turns(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    if (x->need != y->need)
        return x->need < y->need ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void lower_needs(const struct plan_launch *launch, uint32_t *needs, uint32_t need)
{
    for (uint32_t i = 0; i < launch->arg_count; i++)
        if (!launch_writes(launch, i) && needs[launch->args[i]] > need)
            needs[launch->args[i]] = need;
}

/* Orders the prepare launches by the first launch that needs them, each after those that it
 * needs. */
static struct turn *order_prepare(struct scene *s)
{
    const struct plan *plan = s->plan;
    struct turn *turns = ARENA_ARRAY(s->arena, struct turn, plan->prepare.count + 1);
    uint32_t *needs = ARENA_ARRAY(s->arena, uint32_t, plan->buffers.count + 1); /* by buffer */
    memset(needs, 0xff, plan->buffers.count * sizeof *needs);
    for (uint32_t i = 0; i < plan->forward.count; i++)
        lower_needs(&plan->forward.items[i], needs, i);
    for (uint32_t i = plan->prepare.count; i-- > 0;) {
        const struct plan_launch *launch = &plan->prepare.items[i];
        turns[i] = (struct turn){UINT32_MAX, i};
        for (uint32_t k = 0; k < launch->arg_count && k < 32; k++)
            if (launch_writes(launch, k) && needs[launch->args[k]] < turns[i].need)
                turns[i].need = needs[launch->args[k]];
        lower_needs(launch, needs, turns[i].need);
    }
    qsort(turns, plan->prepare.count, sizeof *turns, compare_turns);
    return turns;
}

static void draw_plan(struct scene *s)
{
    const struct plan *plan = s->plan;
    struct drawing *whole = &s->picture->whole;
    const struct turn *turns = order_prepare(s);
    uint32_t next = 0;
    for (uint32_t i = 0; i < plan->forward.count && s->boxes > 0; i++) {
        for (; next < plan->prepare.count && turns[next].need <= i && s->boxes > 0; next++)
            draw_launch(s, &plan->prepare.items[turns[next].index], turns[next].index + 1, true);
        if (s->boxes > 0)
            draw_launch(s, &plan->forward.items[i], i + 1, false);
    }
    for (; next < plan->prepare.count && s->boxes > 0; next++)
        draw_launch(s, &plan->prepare.items[turns[next].index], turns[next].index + 1, true);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind != BUFFER_OUTPUT || s->buffer_net[i] == NOWHERE)
            continue;
        uint32_t node = add_output(s, whole, buffer->index);
        if (node != NOWHERE)
            add_line(s, whole, s->buffer_net[i], node, whole->layout.nodes.items[node].width / 2,
                     0);
    }
    for (value_id value = 1; value < s->graph->nodes.count; value++)
        if (is_source(s, value) && !s->shown[value])
            add_box(s, whole, value, false);
}

/* Draws all values in one drawing, each source when it is first used. */
static void draw_values(struct scene *s)
{
    struct drawing *inside = ARENA_NEW(s->arena, struct drawing);
    struct graph *graph = s->graph;
    inside->layout = (struct layering){.space_x = 16, .space_y = 24};
    s->group = 1;
    for (value_id value = 1; value < graph->nodes.count && s->boxes > 0; value++) {
        const struct node *node = graph_node(graph, value);
        if (is_source(s, value) || s->constant[value] != VALUE_NONE)
            continue;
        for (uint32_t i = 0; i < node->operand_count; i++)
            if (is_source(s, node->operands[i]) && place_of(s, node->operands[i]) == NOWHERE)
                draw_value(s, inside, node->operands[i], false);
        draw_value(s, inside, value, false);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (place_of(s, graph->outputs.items[i].value) == NOWHERE)
            draw_value(s, inside, graph->outputs.items[i].value, false);
    for (value_id value = 1; value < graph->nodes.count; value++)
        if (is_source(s, value) && place_of(s, value) == NOWHERE)
            draw_value(s, inside, value, false);
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        uint32_t from = place_of(s, graph->outputs.items[i].value);
        uint32_t to = from == NOWHERE ? NOWHERE : add_output(s, inside, i);
        if (to != NOWHERE)
            add_line(s, inside, from, to, inside->layout.nodes.items[to].width / 2, 0);
    }
    layering_place(&inside->layout, s->arena);
    struct shape shape = {.kind = SHAPE_KERNEL, .inside = inside};
    add_shape(s, &s->picture->whole, &shape);
}

/* The constant that a value repeats, because it broadcasts or moves it. */
static value_id find_constant(const struct scene *s, value_id value)
{
    const struct node *node = graph_node(s->graph, value);
    switch (node->operand_count) {
    case 0: return node->prim == PRIM_CONST || node->prim == PRIM_SIZE ? value : VALUE_NONE;
    case 1:
        return node->prim == PRIM_BROADCAST || node->prim == PRIM_RESHAPE ||
                       node->prim == PRIM_TRANSPOSE || node->prim == PRIM_CAST
                   ? s->constant[node->operands[0]]
                   : VALUE_NONE;
    default: return VALUE_NONE;
    }
}

static void scene_init(struct scene *s, struct graph *graph, const struct plan *plan,
                       struct picture *picture, struct arena *arena)
{
    uint32_t values = graph->nodes.count, buffers = plan ? plan->buffers.count : 0;
    struct strbuf text;
    *s = (struct scene){
        .arena = arena,
        .graph = graph,
        .plan = plan,
        .picture = picture,
        .boxes = BOXES_MAX,
        .lines = LINES_MAX,
        .texts = ARENA_ARRAY(arena, const char *, values),
        .constant = ARENA_ARRAY(arena, value_id, values),
        .shown = ARENA_ARRAY(arena, bool, values),
        .met = ARENA_ARRAY(arena, uint32_t, values),
        .place = ARENA_ARRAY(arena, uint32_t, values),
        .leaf = ARENA_ARRAY(arena, uint32_t, values),
        .input_net = ARENA_ARRAY(arena, uint32_t, values),
        .buffer_net = ARENA_ARRAY(arena, uint32_t, buffers + 1),
    };
    memset(s->input_net, 0xff, values * sizeof *s->input_net);
    memset(s->buffer_net, 0xff, (buffers + 1) * sizeof *s->buffer_net);
    strbuf_init(&text, arena);
    graph_print(graph, &text);
    value_id value = 0;
    for (const char *line = text.data; line && value + 1 < values; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == '%')
            s->texts[++value] = line;
    }
    for (value = 1; value < values; value++)
        s->constant[value] = find_constant(s, value);
}

void picture_build(struct picture *picture, struct graph *graph, const struct plan *plan,
                   struct arena *arena)
{
    struct scene scene;
    *picture =
        (struct picture){.whole.layout = {.space_x = 28, .space_y = 34}, .kernels = plan != NULL};
    scene_init(&scene, graph, plan, picture, arena);
    if (plan)
        draw_plan(&scene);
    else
        draw_values(&scene);
    layering_place(&picture->whole.layout, arena);
    for (value_id value = 1; value < graph->nodes.count; value++)
        picture->missing_values += !scene.shown[value];
}
