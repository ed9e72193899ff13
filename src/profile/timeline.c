/* A timeline as SVG: urza_prepare above, the call below, a row for each thread, and a box for each
 * chunk of a launch. A box's title describes the chunk; boxes that are wide enough show the
 * launch's name. */
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "profile/profile.h"

#define WIDTH 1200.0
#define LEFT 90.0
#define ROW 28.0
#define TOP 44.0
#define GAP 60.0
#define LETTER 6.2 /* width of a letter, roughly */
#define TICKS 8

static const char *const COLOURS[] = {"#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2",
                                      "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"};
#define COLOUR_COUNT (sizeof COLOURS / sizeof COLOURS[0])

static void put_text(struct strbuf *out, const char *text, size_t most)
{
    for (size_t i = 0; text[i] && i < most; i++) {
        switch (text[i]) {
        case '&': strbuf_printf(out, "&amp;"); break;
        case '<': strbuf_printf(out, "&lt;"); break;
        case '>': strbuf_printf(out, "&gt;"); break;
        default: strbuf_printf(out, "%c", (unsigned char)text[i] < ' ' ? '?' : text[i]);
        }
    }
}

/* A section of the picture, starting at `top`, with its chunks and their duration. */
struct part {
    const char *name;
    const struct chunk_profile *chunks;
    uint32_t count, threads;
    double us, top;
};

static struct part part_of(const char *name, const struct chunk_profile *chunks, uint32_t count,
                           double top)
{
    struct part part = {name, chunks, count, 0, 0, top};
    for (uint32_t i = 0; i < count; i++) {
        part.us = chunks[i].end_us > part.us ? chunks[i].end_us : part.us;
        part.threads = chunks[i].thread + 1 > part.threads ? chunks[i].thread + 1 : part.threads;
    }
    return part;
}

static double height_of(const struct part *part)
{
    return part->count > 0 ? part->threads * ROW + GAP : 0;
}

static void put_axis(struct strbuf *out, const struct part *part)
{
    double bottom = part->top + part->threads * ROW;
    strbuf_printf(out, "<text x=\"4\" y=\"%.0f\" class=\"name\">%s, %.4g us</text>\n",
                  part->top - 10, part->name, part->us);
    for (uint32_t t = 0; t < part->threads; t++)
        strbuf_printf(out, "<text x=\"4\" y=\"%.0f\">thread %u</text>\n",
                      part->top + t * ROW + ROW / 2 + 4, t);
    for (uint32_t i = 0; i <= TICKS; i++) {
        double x = LEFT + (WIDTH - LEFT - 20) * i / TICKS;
        strbuf_printf(out, "<path d=\"M%.1f %.0fV%.0f\" class=\"tick\"/>", x, part->top,
                      bottom + 4);
        strbuf_printf(out, "<text x=\"%.1f\" y=\"%.0f\" class=\"middle\">%.4g</text>\n", x,
                      bottom + 18, part->us * i / TICKS);
    }
}

static void put_chunk(struct strbuf *out, const struct trace_profile *profile,
                      const struct part *part, const struct chunk_profile *chunk)
{
    const struct launch_profile *launch = &profile->launches[chunk->launch];
    double scale = part->us > 0 ? (WIDTH - LEFT - 20) / part->us : 0;
    double x = LEFT + chunk->begin_us * scale, y = part->top + chunk->thread * ROW;
    double width = (chunk->end_us - chunk->begin_us) * scale;
    size_t letters = width > 8 ? (size_t)((width - 8) / LETTER) : 0;
    strbuf_printf(out, "<g><title>launch %u: ", chunk->launch);
    put_text(out, launch->label, SIZE_MAX);
    strbuf_printf(out, ", chunk %u of %u, %.4g us</title>", chunk->chunk + 1, launch->chunks,
                  chunk->end_us - chunk->begin_us);
    strbuf_printf(out, "<rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\"/>",
                  x, y + 2, width > 0.5 ? width : 0.5, ROW - 4,
                  COLOURS[chunk->launch % COLOUR_COUNT]);
    if (letters >= 3) {
        strbuf_printf(out, "<text x=\"%.2f\" y=\"%.0f\" class=\"in\">", x + 4, y + ROW / 2 + 4);
        put_text(out, launch->label, letters);
        strbuf_printf(out, "</text>");
    }
    strbuf_printf(out, "</g>\n");
}

void timeline_print(const struct trace_profile *profile, struct strbuf *out)
{
    uint32_t prepared = profile->prepare_chunk_count;
    struct part parts[2];
    parts[0] = part_of("prepare", profile->chunks, prepared, TOP + 20);
    parts[1] = part_of("call", profile->chunks + prepared, profile->chunk_count - prepared,
                       TOP + 20 + height_of(&parts[0]));
    double height = parts[1].top + height_of(&parts[1]);
    strbuf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
                  "width=\"%.0f\" height=\"%.0f\">\n<style>text{font:12px sans-serif;fill:#222}"
                  ".name{font-weight:bold}.middle{text-anchor:middle}.in{fill:#fff}"
                  ".tick{stroke:#ccc}</style>\n<rect width=\"100%%\" height=\"100%%\" "
                  "fill=\"#fff\"/>\n",
                  WIDTH, height, WIDTH, height);
    strbuf_printf(out, "<text x=\"4\" y=\"20\" class=\"name\">%s%s%s, %u thread%s</text>\n",
                  profile->target, profile->dims[0] ? ", " : "", profile->dims, profile->threads,
                  profile->threads == 1 ? "" : "s");
    for (uint32_t p = 0; p < 2; p++) {
        if (parts[p].count == 0)
            continue;
        put_axis(out, &parts[p]);
        for (uint32_t i = 0; i < parts[p].count; i++)
            put_chunk(out, profile, &parts[p], &parts[p].chunks[i]);
    }
    strbuf_printf(out, "</svg>\n");
}
