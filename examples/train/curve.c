/* The losses of a run: a bar while it goes on, a drawing when it is over. */
#include "curve.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "options.h"

enum { WIDTH = 640, HEIGHT = 360, LEFT = 56, RIGHT = 16, TOP = 16, BOTTOM = 40, BAR = 40 };

void progress_show(int64_t made, int64_t total, float loss, double steps_per_second)
{
    int full = (int)(made * BAR / (total > 0 ? total : 1));
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r[%.*s%*s] %" PRId64 "/%" PRId64 "  loss %.3f  %.1f steps/s ", full,
            "########################################", BAR - full, "", made, total, (double)loss,
            steps_per_second);
    if (made == total)
        fputc('\n', stderr);
}

struct axes {
    double least, most; /* losses */
    int64_t count;      /* steps */
};

static double x_of(const struct axes *axes, double step)
{
    double steps = (double)(axes->count > 1 ? axes->count - 1 : 1);
    return LEFT + step / steps * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct axes *axes, double loss)
{
    return TOP + (axes->most - loss) / (axes->most - axes->least) * (HEIGHT - TOP - BOTTOM);
}

/* The means of `span` steps each, as one line. */
static void draw_line(FILE *file, const struct axes *axes, const float *losses, int64_t span,
                      const char *style)
{
    fprintf(file, "<polyline fill=\"none\" %s points=\"", style);
    for (int64_t i = 0; i < axes->count; i += span) {
        int64_t end = i + span < axes->count ? i + span : axes->count;
        double sum = 0;
        for (int64_t k = i; k < end; k++)
            sum += (double)losses[k];
        fprintf(file, "%.1f,%.1f ", x_of(axes, (double)(i + end - 1) / 2),
                y_of(axes, sum / (double)(end - i)));
    }
    fprintf(file, "\"/>\n");
}

static void draw_axes(FILE *file, const struct axes *axes, int64_t first)
{
    for (int i = 0; i <= 4; i++) {
        double loss = axes->least + (axes->most - axes->least) * i / 4, y = y_of(axes, loss);
        fprintf(file, "<path stroke=\"#ddd\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, WIDTH - RIGHT);
        fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.2f</text>\n", LEFT - 8,
                y + 4, loss);
        int64_t step = (axes->count - 1) * i / 4;
        fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%" PRId64 "</text>\n",
                x_of(axes, (double)step), HEIGHT - BOTTOM + 18, first + 1 + step);
    }
    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", WIDTH / 2,
            HEIGHT - 6);
}

void curve_draw(const char *path, const float *losses, int64_t count, int64_t first)
{
    struct axes axes = {.least = HUGE_VAL, .most = -HUGE_VAL, .count = count};
    int64_t points = 500, smooth = 50; /* on the lines */
    FILE *file = fopen(path, "w");
    if (!file)
        die("%s: the curve cannot be written", path);
    for (int64_t i = 0; i < count; i++) {
        axes.least = fmin(axes.least, (double)losses[i]);
        axes.most = fmax(axes.most, (double)losses[i]);
    }
    if (!(axes.most > axes.least)) /* one loss, or none */
        axes.most = (axes.least = isfinite(axes.least) ? axes.least - 0.5 : 0) + 1;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\""
            " font-family=\"sans-serif\" font-size=\"12\">\n"
            "<title>loss by step</title>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    if (count > 0) {
        draw_axes(file, &axes, first);
        draw_line(file, &axes, losses, (count + points - 1) / points, "stroke=\"#9bc\"");
        draw_line(file, &axes, losses, (count + smooth - 1) / smooth,
                  "stroke=\"#147\" stroke-width=\"2\"");
    }
    fprintf(file, "</svg>\n");
    if (ferror(file) | fclose(file))
        die("%s: the curve was not written", path);
}

void curve_print(const char *path, const float *losses, int64_t count)
{
    FILE *file = fopen(path, "w");
    if (!file)
        die("%s: the losses cannot be written", path);
    for (int64_t i = 0; i < count; i++)
        fprintf(file, "%.9g\n", (double)losses[i]);
    if (ferror(file) | fclose(file))
        die("%s: the losses were not written", path);
}
