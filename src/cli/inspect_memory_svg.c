/* Lifetimes against addresses, as SVG: launches from left to right, bytes upwards, a box for each
 * temporary, and the lower bound as a dashed line.
 *
 *      bytes
 *      ┆- - - - - - - - - - - - - - -  lower bound
 *      │▒▒▒▒▒▒▒▒▒▒▒▒▒▒  █████
 *      │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
 *      └────────────────────────  launch */
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli/cli_priv.h"
#include "cli/inspect_memory_priv.h"

#define WIDTH 1200.0
#define HEIGHT 720.0
#define LEFT 90.0
#define RIGHT 20.0
#define TOP 70.0
#define BOTTOM 50.0
#define TICKS 10
#define LETTER 6.6       /* width of a letter, roughly */
#define LINE 14.0        /* height of a line of text */
#define DRAWN_ALL 5000u  /* so many boxes are drawn, however small */
#define SMALL_HEIGHT 0.2 /* of more, those that are lower than this are not */

/* Colours differ in lightness, too, so that neighbours do without colour. */
static const char *const COLOURS[] = {"#4e79a7", "#8cb4d8", "#59a14f", "#9fd08f",
                                      "#b07aa1", "#d9b3cf", "#9c755f", "#cbb0a2"};
#define COLOUR_COUNT (sizeof COLOURS / sizeof COLOURS[0])

/* Where things lie: x of a launch, y of an address. */
struct frame {
    double launches, bytes; /* of the whole width and height; > 0 */
};

static double x_of(const struct frame *f, double launch)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * launch / f->launches;
}

static double y_of(const struct frame *f, double address)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * address / f->bytes;
}

/* Names come from models: report_word leaves valid UTF-8 without control characters, and here goes
 * what XML reads as markup. At most `most` characters, with an ellipsis for the rest. */
static void put_text(struct cli *cli, const char *text, size_t most, struct strbuf *out)
{
    const char *at = report_word(cli, text);
    size_t count = 0;
    for (const char *c = at; *c; c++)
        count += ((unsigned char)*c & 0xc0) != 0x80;
    size_t left = count > most ? most - 1 : count;
    for (; *at; at++) {
        bool begins = ((unsigned char)*at & 0xc0) != 0x80;
        if (begins && left == 0)
            break;
        left -= begins;
        if (strncmp(at, "\xef\xbf\xbe", 3) == 0 || strncmp(at, "\xef\xbf\xbf", 3) == 0) {
            strbuf_puts(out, "?"); /* U+FFFE and U+FFFF are no characters of XML */
            at += 2;
            continue;
        }
        switch (*at) {
        case '&': strbuf_puts(out, "&amp;"); break;
        case '<': strbuf_puts(out, "&lt;"); break;
        case '>': strbuf_puts(out, "&gt;"); break;
        case '"': strbuf_puts(out, "&quot;"); break;
        default: strbuf_add(out, at, 1);
        }
    }
    if (count > most)
        strbuf_puts(out, "…");
}

static void put_bytes(double bytes, struct strbuf *out)
{
    if (bytes < 1e4)
        strbuf_printf(out, "%.0f B", bytes);
    else if (bytes < 1e6)
        strbuf_printf(out, "%.4g kB", bytes / 1e3);
    else
        strbuf_printf(out, bytes < 1e9 ? "%.4g MB" : "%.5g MB", bytes / 1e6);
}

/* 1, 2 or 5 times a power of ten, so that there are at most TICKS. */
static double tick_bytes(double most)
{
    static const double factors[] = {2, 2.5, 2};
    double tick = 1;
    for (int i = 0; tick * TICKS < most; i++)
        tick *= factors[i % 3];
    return tick;
}

static void put_axes(const struct frame *f, const struct memory_view *view, struct strbuf *out)
{
    uint32_t count = view->plan->forward.count, step = 1 + count / 16;
    double bytes = tick_bytes(f->bytes);
    for (double at = 0; at <= f->bytes; at += bytes) {
        double y = y_of(f, at);
        strbuf_printf(out, "<path class=\"tick\" d=\"M%.1f %.1fH%.1f\"/>", LEFT, y, WIDTH - RIGHT);
        strbuf_printf(out, "<text class=\"end\" x=\"%.1f\" y=\"%.1f\">", LEFT - 6, y + 4);
        put_bytes(at, out);
        strbuf_puts(out, "</text>\n");
    }
    for (uint32_t i = 0; i < count; i += step)
        strbuf_printf(out, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%u</text>\n",
                      x_of(f, i + 0.5), HEIGHT - BOTTOM + 16, i);
    strbuf_printf(out, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">launch</text>\n",
                  (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12);
}

/* The bound, and where forward_train ends. */
static void put_lines(const struct frame *f, const struct memory_view *view, struct strbuf *out)
{
    double y = y_of(f, (double)view->layout.bound);
    strbuf_printf(out, "<path class=\"bound\" d=\"M%.1f %.2fH%.1f\"/>", LEFT, y, WIDTH - RIGHT);
    strbuf_printf(out, "<text class=\"end bound\" x=\"%.1f\" y=\"%.1f\">lower bound ",
                  WIDTH - RIGHT, y - 5);
    put_bytes((double)view->layout.bound, out);
    strbuf_printf(out, ", in launch %u</text>\n", view->layout.at);
    if (view->forward == 0)
        return;
    double x = x_of(f, view->forward);
    strbuf_printf(out, "<path class=\"part\" d=\"M%.1f %.1fV%.1f\"/>", x, TOP - 36,
                  HEIGHT - BOTTOM);
    strbuf_printf(out, "<text class=\"end\" x=\"%.1f\" y=\"%.1f\">forward_train</text>", x - 5,
                  TOP - 26);
    strbuf_printf(out, "<text x=\"%.1f\" y=\"%.1f\">backward</text>\n", x + 5, TOP - 26);
}

static void put_box(struct cli *cli, const struct frame *f, const struct memory_row *row,
                    struct strbuf *out)
{
    double x = x_of(f, row->first), width = x_of(f, row->last + 1.0) - x;
    double y = y_of(f, (double)row->address + (double)row->bytes);
    double height = y_of(f, (double)row->address) - y;
    size_t letters = width > 8 ? (size_t)((width - 8) / LETTER) : 0;
    strbuf_printf(out, "<g><title>buffer %u, ", row->buffer);
    put_text(cli, row->name, 200, out);
    strbuf_printf(out, ": %lld bytes at %lld, launches %u to %u%s</title>", (long long)row->bytes,
                  (long long)row->address, row->first, row->last, row->saved ? ", saved" : "");
    strbuf_printf(out, "<rect%s x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>",
                  row->saved ? " class=\"saved\"" : "", x, y, width > 0.5 ? width : 0.5,
                  height > 0.2 ? height : 0.2, COLOURS[row->buffer % COLOUR_COUNT]);
    if (letters >= 3 && height >= LINE) {
        strbuf_printf(out, "<text class=\"in\" x=\"%.2f\" y=\"%.2f\">", x + 4, y + height / 2 + 4);
        put_text(cli, row->name, letters, out);
        strbuf_puts(out, "</text>");
    }
    strbuf_puts(out, "</g>\n");
}

static void put_heading(struct cli *cli, const struct memory_view *view, struct strbuf *out)
{
    strbuf_puts(out, "<text class=\"name\" x=\"10\" y=\"20\">");
    put_text(cli, view->target, 60, out);
    strbuf_puts(out, view->dims[0] ? ", " : "");
    put_text(cli, view->dims, 100, out);
    strbuf_printf(out, ": %u temporaries, peak ", view->count);
    put_bytes((double)view->layout.bytes, out);
    if (view->layout.bound > 0)
        strbuf_printf(out, ", %.3f of the lower bound",
                      (double)view->layout.bytes / (double)view->layout.bound);
    strbuf_puts(out, view->forward > 0 ? "; framed: saved for backward</text>\n" : "</text>\n");
}

void memory_svg(struct cli *cli, const struct memory_view *view, struct strbuf *out)
{
    struct frame f = {(double)view->plan->forward.count, (double)view->layout.bytes};
    uint32_t left_out = 0;
    f.launches = f.launches > 0 ? f.launches : 1;
    f.bytes = f.bytes > 0 ? f.bytes : 1;
    strbuf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
                  "width=\"%.0f\" height=\"%.0f\" role=\"img\">\n<style>text{font:12px "
                  "sans-serif;fill:#222}.name{font-weight:bold}.middle{text-anchor:middle}"
                  ".end{text-anchor:end}.in{font-size:11px;fill:#111}.tick{stroke:#ddd}"
                  "rect{stroke:#fff;stroke-width:.3}.saved{stroke:#222;stroke-width:.8}"
                  "path.bound{stroke:#c00;stroke-dasharray:6 4}"
                  "text.bound{fill:#c00;stroke:#fff;stroke-width:3;paint-order:stroke}"
                  ".part{stroke:#555;stroke-dasharray:2 3}</style>\n"
                  "<path fill=\"#fff\" d=\"M0 0H%.0fV%.0fH0z\"/>\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_heading(cli, view, out);
    put_axes(&f, view, out);
    for (uint32_t i = 0; i < view->count; i++) {
        double height = (HEIGHT - TOP - BOTTOM) * (double)view->rows[i].bytes / f.bytes;
        if (view->count > DRAWN_ALL && height < SMALL_HEIGHT)
            left_out++;
        else
            put_box(cli, &f, &view->rows[i], out);
    }
    put_lines(&f, view, out);
    if (left_out > 0)
        strbuf_printf(out, "<text x=\"10\" y=\"36\">%u of the smallest are not drawn.</text>\n",
                      left_out);
    strbuf_puts(out, "</svg>\n");
}
