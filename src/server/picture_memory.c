/* Temporaries over the launches of a call.
 *
 *      linear   f32[4, 128]   2 kB  [=======]
 *      softmax  f32[4, 128]   2 kB          [=============]
 *      together                     ##      ######## */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "server/picture.h"
#include "server/picture_priv.h"

#define ROWS_MOST 80
#define LAUNCHES_MOST 400
#define ROW 20
#define HEAD 56
#define NAME_COLUMNS 56u
#define NAME_WIDTH (NAME_COLUMNS * PICTURE_COLUMN + 12)
#define CHART 640 /* width of all launches together, if they are few */
#define STRIP 60  /* height of the strip with the sum */
#define LINE_COLUMNS 100u

struct temporary {
    const struct plan_buffer *buffer;
    uint32_t index; /* in the plan */
    int64_t bytes;
};

struct chart {
    const struct graph *graph;
    const struct plan *plan;
    struct arena *arena;
    struct temporary *rows;
    uint32_t count, left_out, launches;
    int64_t *live, peak; /* bytes, by launch; their maximum */
    double step;         /* width of a launch */
};

static void print_bytes(int64_t bytes, struct strbuf *out)
{
    if (bytes < 10000)
        strbuf_printf(out, "%lld B", (long long)bytes);
    else if (bytes < 10000000)
        strbuf_printf(out, "%lld kB", (long long)(bytes + 500) / 1000);
    else
        strbuf_printf(out, "%.1f MB", (double)bytes / 1e6);
}

static int by_time(const void *a, const void *b)
{
    const struct temporary *first = a, *second = b;
    const struct plan_buffer *one = first->buffer, *other = second->buffer;
    if (one->first_launch != other->first_launch)
        return one->first_launch < other->first_launch ? -1 : 1;
    return first->index < second->index ? -1 : 1;
}

/* Packages are untrusted: sizes that overflow are drawn as 0. */
static int64_t bytes_of(const struct chart *chart, const struct plan_buffer *buffer,
                        const int64_t *dims)
{
    int64_t elements;
    int64_t item = (int64_t)dtype_bytes((enum dtype)buffer->dtype);
    return dim_eval(&chart->graph->dims, buffer->elements, dims, &elements) && elements > 0 &&
                   elements <= INT64_MAX / 1024 / item
               ? elements * item
               : 0;
}

static void gather(struct chart *chart)
{
    const struct plan *plan = chart->plan;
    int64_t dims[LIMIT_NAMED_DIMS] = {0};
    for (uint32_t i = 0; i < chart->graph->dims.names.count; i++)
        dims[i] = dim_typical(&chart->graph->dims.names.items[i]);
    chart->rows = ARENA_ARRAY(chart->arena, struct temporary, plan->buffers.count + 1);
    chart->live = ARENA_ARRAY(chart->arena, int64_t, chart->launches + 1);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind != BUFFER_TEMP || buffer->displaced ||
            buffer->first_launch > buffer->last_launch)
            continue;
        struct temporary row = {buffer, i, bytes_of(chart, buffer, dims)};
        chart->rows[chart->count++] = row;
        for (uint32_t l = buffer->first_launch; l <= buffer->last_launch && l < chart->launches;
             l++)
            if (chart->live[l] < INT64_MAX / 2) {
                chart->live[l] += row.bytes;
                chart->peak = chart->live[l] > chart->peak ? chart->live[l] : chart->peak;
            }
    }
    if (chart->count > 0)
        qsort(chart->rows, chart->count, sizeof *chart->rows, by_time);
    chart->left_out = chart->count > ROWS_MOST ? chart->count - ROWS_MOST : 0;
    chart->count -= chart->left_out;
}

static void print_row(const struct chart *chart, uint32_t number, struct strbuf *out)
{
    const struct temporary *row = &chart->rows[number];
    const struct plan_buffer *buffer = row->buffer;
    const struct node *node = graph_node(chart->graph, buffer->value);
    uint32_t last =
        buffer->last_launch < chart->launches ? buffer->last_launch : chart->launches - 1;
    uint32_t first = buffer->first_launch < last ? buffer->first_launch : last;
    int y = HEAD + (int)number * ROW, left = (int)(PICTURE_MARGIN + NAME_WIDTH);
    struct strbuf text;
    strbuf_init(&text, chart->arena);
    strbuf_printf(&text, "%%%u %s %s[", buffer->value, prim_info((enum prim)node->prim)->name,
                  dtype_name((enum dtype)buffer->dtype));
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&text, i > 0 ? ", " : "");
        dim_print(&chart->graph->dims, node->shape[i], &text);
    }
    strbuf_puts(&text, "] ");
    print_bytes(row->bytes, &text);
    struct label name = label_make(chart->arena, text.data, text.size_bytes, NAME_COLUMNS);
    strbuf_printf(&text, ", from launch %u to %u", buffer->first_launch, buffer->last_launch);
    struct label title = label_make(chart->arena, text.data, text.size_bytes, 200);
    strbuf_printf(out, "<g role=\"img\"><title>%s</title>\n", title.xml);
    strbuf_printf(out, "<text class=\"left\" x=\"%d\" y=\"%d\">%s</text>\n", PICTURE_MARGIN, y + 14,
                  name.xml);
    strbuf_printf(out,
                  "<rect class=\"bar\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
                  "rx=\"2\"/></g>\n",
                  left + first * chart->step, y + 3, (last - first + 1) * chart->step - 1, ROW - 6);
}

/* Prints the sum over all temporaries, launch by launch, with the maximum darker. */
static void print_strip(const struct chart *chart, struct strbuf *out)
{
    int top = HEAD + (int)chart->count * ROW + 8, left = (int)(PICTURE_MARGIN + NAME_WIDTH);
    strbuf_printf(out, "<text class=\"left name\" x=\"%d\" y=\"%d\">together</text>\n",
                  PICTURE_MARGIN, top + STRIP - 4);
    for (uint32_t l = 0; l < chart->launches && chart->peak > 0; l++) {
        double height = STRIP * (double)chart->live[l] / (double)chart->peak;
        strbuf_printf(out,
                      "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                      chart->live[l] == chart->peak ? "peak" : "bar", left + l * chart->step,
                      top + STRIP - height, chart->step - 1, height);
    }
}

static void draw(struct chart *chart, const char *target, struct strbuf *out)
{
    struct strbuf text;
    gather(chart);
    chart->step = chart->launches > 0 ? (double)CHART / chart->launches : CHART;
    chart->step = chart->step < 2 ? 2 : chart->step > 60 ? 60 : chart->step;
    strbuf_init(&text, chart->arena);
    strbuf_puts(&text, "memory of a call at typical sizes");
    if (target)
        strbuf_printf(&text, ", for %s: ", target);
    if (target && chart->count > 0) {
        strbuf_printf(&text, "%u temporaries over %u launches, at most ",
                      chart->count + chart->left_out, chart->launches);
        print_bytes(chart->peak, &text);
    } else
        strbuf_puts(&text, target ? "no temporaries" : ": no code, so no temporaries");
    struct label heading = label_make(chart->arena, text.data, text.size_bytes, LINE_COLUMNS);
    double width = 2 * PICTURE_MARGIN + NAME_WIDTH + chart->step * chart->launches;
    double least = 2 * PICTURE_MARGIN + LINE_COLUMNS * PICTURE_COLUMN;
    double height = HEAD + chart->count * ROW + (chart->count > 0 ? STRIP + 30 : 0) + 30;
    picture_begin(out, width > least ? width : least, height, &heading);
    for (uint32_t i = 0; i < chart->count; i++)
        print_row(chart, i, out);
    if (chart->count > 0)
        print_strip(chart, out);
    if (chart->left_out > 0)
        strbuf_printf(out,
                      "<text class=\"left name\" x=\"%d\" y=\"%d\">%u more are not drawn.</text>\n",
                      PICTURE_MARGIN, (int)height - 10, chart->left_out);
    strbuf_puts(out, "</svg>\n");
}

bool picture_of_memory(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                       struct error *err)
{
    struct picture_subject subject;
    if (!picture_open(bytes, size, arena, &subject, err))
        return false;
    struct chart chart = {.graph = &subject.graph, .plan = &subject.plan, .arena = arena};
    uint32_t launches = subject.plan.forward.count; /* 0 if there is no target */
    chart.launches = launches < LAUNCHES_MOST ? launches : LAUNCHES_MOST;
    draw(&chart, subject.target, out);
    return true;
}
