/* Prints a picture as SVG: first frames and lines, then the boxes over them.
 *
 * Kinds of boxes differ in shape and text, so colour carries no information of its own. Sizes are
 * computed by counting characters, so the font is monospaced. Colours are CSS variables, each
 * preceded by a plain colour for programs without variables. */
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "server/picture_priv.h"

#define COLUMN PICTURE_COLUMN
#define SMALL_COLUMN 6.65
#define MARGIN PICTURE_MARGIN
#define HEAD 62 /* height of heading and legend */

static const char style[] =
    ".urza-picture{--paper:#fff;--frame:#f3f5f8;--box:#fff;--text:#17202a;--faint:#566170;"
    "--line:#6b7685;font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
    "'Liberation Mono',monospace}\n"
    "@media (prefers-color-scheme:dark){.urza-picture{--paper:#14181d;--frame:#1c2229;"
    "--box:#262e37;--text:#e6ebf1;--faint:#a3afbd;--line:#8b97a6}}\n"
    ".urza-picture .paper{fill:#fff;fill:var(--paper)}\n"
    ".urza-picture text{fill:#17202a;fill:var(--text);text-anchor:middle}\n"
    ".urza-picture .left{text-anchor:start}\n"
    ".urza-picture .name{font-weight:600}\n"
    ".urza-picture .faint{fill:#566170;fill:var(--faint);font-weight:400}\n"
    ".urza-picture .small{font-size:11px}\n"
    ".urza-picture .frame,.urza-picture .tab{fill:#f3f5f8;fill:var(--frame)}\n"
    ".urza-picture .frame{stroke:#6b7685;stroke:var(--line)}\n"
    ".urza-picture .prepare{stroke-dasharray:6 4}\n"
    ".urza-picture .line{fill:none;stroke:#6b7685;stroke:var(--line);stroke-width:1.3}\n"
    ".urza-picture .tip{fill:#6b7685;fill:var(--line)}\n"
    ".urza-picture .box{fill:#fff;fill:var(--box);stroke:#6b7685;stroke:var(--line)}\n"
    ".urza-picture .ring{fill:none;stroke:#17202a;stroke:var(--text)}\n"
    ".urza-picture .bar{fill:#6b7685;fill:var(--line)}\n"
    ".urza-picture .peak{fill:#17202a;fill:var(--text)}\n"
    ".urza-picture .stored{stroke:#17202a;stroke:var(--text);stroke-width:2.5}\n";

static int whole(double length)
{
    return (int)floor(length + 0.5);
}

/* Rounds up to an even number, so that middles are whole. */
static double even(double length)
{
    return 2 * ceil(length / 2);
}

void shape_measure(const struct shape *shape, struct layering_node *node)
{
    uint32_t first = shape->name.columns + (shape->number.columns ? 1 + shape->number.columns : 0);
    uint32_t most = first > shape->type.columns ? first : shape->type.columns;
    switch (shape->kind) {
    case SHAPE_SMALL:
        node->width = even((first + 1 + shape->type.columns) * SMALL_COLUMN + 14);
        node->height = 20;
        break;
    case SHAPE_VALUE:
        node->width = even(most * COLUMN + 20);
        node->height = 38;
        break;
    case SHAPE_INPUT:
    case SHAPE_PARAM:
    case SHAPE_OUTPUT:
        node->width = even(most * COLUMN + 36);
        node->height = 40;
        break;
    case SHAPE_KERNEL: {
        double title = shape->name.columns * COLUMN + 28;
        double inside = shape->inside->layout.width + (shape->inside->framed ? 32 : 0);
        node->width = even(fmax(inside, shape->inside->framed ? title : 0));
        node->height = shape->inside->layout.height + (shape->inside->framed ? 34 : 0);
        shape->inside->x = floor((node->width - shape->inside->layout.width) / 2);
        shape->inside->y = shape->inside->framed ? 28 : 0;
        break;
    }
    case SHAPE_BORDER:
    case SHAPE_KIND_COUNT: break;
    }
}

struct rect {
    double x, y, width, height;
};

static void print_rect(struct strbuf *out, const char *classes, struct rect rect, int radius)
{
    strbuf_printf(
        out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\"/>\n",
        classes, whole(rect.x), whole(rect.y), whole(rect.width), whole(rect.height), radius);
}

static void print_text(struct strbuf *out, const char *classes, double x, double y,
                       const struct label *text)
{
    strbuf_printf(out, "<text class=\"%s\" x=\"%d\" y=\"%d\">%s</text>\n", classes, whole(x),
                  whole(y), text->xml);
}

/* Prints "name number" above "type" in the middle of a box, or both in one line. */
static void print_labels(struct strbuf *out, const struct shape *shape, double x, double y,
                         bool one_line)
{
    strbuf_printf(out, "<text class=\"%s\" x=\"%d\" y=\"%d\"><tspan class=\"name\">%s</tspan>",
                  one_line ? "small" : "", whole(x), whole(y), shape->name.xml);
    if (shape->number.columns > 0)
        strbuf_printf(out, " <tspan class=\"faint\">%s</tspan>", shape->number.xml);
    if (one_line)
        strbuf_printf(out, " %s", shape->type.xml);
    strbuf_puts(out, "</text>\n");
    if (!one_line)
        print_text(out, "", x, y + 15, &shape->type);
}

/* Prints a box with cut corners. */
static void print_cut(struct strbuf *out, double x, double y, double width, double height)
{
    int cut = 10, w = whole(width), h = whole(height);
    strbuf_printf(out, "<path class=\"box\" d=\"M%d %dh%dl%d %dv%dl%d %dh%dl%d %dv%dz\"/>\n",
                  whole(x) + cut, whole(y), w - 2 * cut, cut, cut, h - 2 * cut, -cut, cut,
                  -(w - 2 * cut), -cut, -cut, -(h - 2 * cut));
}

static void print_shape(struct strbuf *out, const struct shape *shape,
                        const struct layering_node *node, double x, double y)
{
    double w = node->width, h = node->height;
    const struct rect box = {x, y, w, h};
    bool small = shape->kind == SHAPE_SMALL;
    strbuf_printf(out, "<g role=\"img\"><title>%s</title>\n", shape->title.xml);
    if (shape->kind == SHAPE_PARAM)
        print_cut(out, x, y, w, h);
    else if (shape->kind == SHAPE_INPUT || shape->kind == SHAPE_OUTPUT)
        print_rect(out, "box", box, whole(h / 2));
    else
        print_rect(out, shape->stored ? "box stored" : "box", box, small ? 3 : 5);
    if (shape->kind == SHAPE_OUTPUT)
        print_rect(out, "ring", (struct rect){x + 3, y + 3, w - 6, h - 6}, whole(h / 2) - 3);
    print_labels(out, shape, x + w / 2, y + (small ? 14 : h / 2 - 3), small);
    strbuf_puts(out, "</g>\n");
}

static void print_line(struct strbuf *out, struct layering *layout, uint32_t index, bool tip,
                       double x, double y)
{
    const struct layering_pass *pass;
    uint32_t count = layering_passes(layout, index, &pass);
    strbuf_printf(out, "<path class=\"line\" d=\"M%d %d", whole(x + pass[0].x),
                  whole(y + pass[0].top));
    for (uint32_t i = 0; i < count; i++) {
        int left = whole(x + pass[i].x), top = whole(y + pass[i].top);
        int bottom = whole(y + pass[i].bottom);
        if (i > 0 && left == whole(x + pass[i - 1].x)) {
            strbuf_printf(out, "V%d", top);
        } else if (i > 0) {
            int above = whole(y + pass[i - 1].bottom), half = (top - above) / 2;
            strbuf_printf(out, "C%d %d %d %d %d %d", whole(x + pass[i - 1].x), above + half, left,
                          top - half, left, top);
        }
        if (bottom != top)
            strbuf_printf(out, "V%d", bottom);
    }
    strbuf_printf(out, "\"%s/>\n", tip ? " marker-end=\"url(#urza-tip)\"" : "");
}

static void print_frame(struct strbuf *out, const struct drawing *inside,
                        const struct layering_node *node, double x, double y)
{
    if (inside->framed)
        print_rect(out, inside->prepare ? "frame prepare" : "frame",
                   (struct rect){x, y, node->width, node->height}, 10);
}

static void print_title(struct strbuf *out, const struct shape *shape, double x, double y)
{
    strbuf_printf(out, "<g role=\"img\"><title>%s</title>\n", shape->title.xml);
    print_rect(out, "tab", (struct rect){x + 8, y + 4, shape->name.columns * COLUMN + 8, 19}, 3);
    print_text(out, "left name", x + 12, y + 18, &shape->name);
    strbuf_puts(out, "</g>\n");
}

/* Frames of kernels contain drawings without frames, so there are two levels. */
static void print_drawing(struct strbuf *out, struct drawing *drawing, double x, double y)
{
    struct layering *layout = &drawing->layout;
    for (uint32_t i = 0; i < drawing->shapes.count; i++)
        if (drawing->shapes.items[i].inside)
            print_frame(out, drawing->shapes.items[i].inside, &layout->nodes.items[i],
                        x + layout->nodes.items[i].x, y + layout->nodes.items[i].y);
    for (uint32_t i = 0; i < layout->lines.count; i++) {
        enum shape_kind to = drawing->shapes.items[layout->lines.items[i].to].kind;
        print_line(out, layout, i, to != SHAPE_BORDER && to != SHAPE_KERNEL, x, y);
    }
    for (uint32_t i = 0; i < drawing->shapes.count; i++) {
        const struct shape *shape = &drawing->shapes.items[i];
        double left = x + layout->nodes.items[i].x, top = y + layout->nodes.items[i].y;
        if (shape->inside) {
            print_drawing(out, shape->inside, left + shape->inside->x, top + shape->inside->y);
            if (shape->inside->framed)
                print_title(out, shape, left, top);
        } else if (shape->kind != SHAPE_BORDER) {
            print_shape(out, shape, &layout->nodes.items[i], left, top);
        }
    }
}

static const struct label legend[] = {
    {"Round: input; double: output; cut corners: parameter. Constants are written in what uses "
     "them, · stands for a line.",
     114},
    {"Frame: one kernel; dashed: runs once, at load. Thick border: written to memory.", 79},
};

void picture_begin(struct strbuf *out, double width, double height, const struct label *heading)
{
    strbuf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"urza-picture\" role=\"group\" "
                  "aria-labelledby=\"urza-picture-title\" width=\"%d\" height=\"%d\" "
                  "viewBox=\"0 0 %d %d\">\n"
                  "<title id=\"urza-picture-title\">%s</title>\n"
                  "<style>\n%s</style>\n"
                  "<defs><marker id=\"urza-tip\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" "
                  "markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\">"
                  "<path class=\"tip\" d=\"M0 0.5L8 4L0 7.5z\"/></marker></defs>\n",
                  whole(width), whole(height), whole(width), whole(height), heading->xml, style);
    print_rect(out, "paper", (struct rect){0, 0, width, height}, 0);
    print_text(out, "left name", MARGIN, 26, heading);
}

void picture_print(struct picture *picture, struct strbuf *out)
{
    const struct layering *layout = &picture->whole.layout;
    double text = fmax(legend[0].columns * SMALL_COLUMN, picture->heading.columns * COLUMN);
    double width = fmax(layout->width, text) + 2 * MARGIN;
    double height = HEAD + layout->height + 2 * MARGIN;
    picture_begin(out, width, height, &picture->heading);
    for (int i = 0; i < (picture->kernels ? 2 : 1); i++)
        print_text(out, "left faint small", MARGIN, 44 + 15 * i, &legend[i]);
    if (picture->note.columns > 0)
        print_text(out, "left name", MARGIN, height - 8, &picture->note);
    print_drawing(out, &picture->whole, floor((width - layout->width) / 2), HEAD + MARGIN);
    strbuf_puts(out, "</svg>\n");
}
