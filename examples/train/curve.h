/* The losses of a run: a bar while it goes on, a drawing when it is over. */
#ifndef EXAMPLES_TRAIN_CURVE_H
#define EXAMPLES_TRAIN_CURVE_H

#include <stdint.h>

/* On standard error, if that is a terminal; a bar of made == total ends its line. */
void progress_show(int64_t made, int64_t total, float loss, double steps_per_second);

/* losses: of `count` steps, the first of which is step first + 1. Ends the program when the file
 * cannot be written. */
void curve_draw(const char *path, const float *losses, int64_t count, int64_t first);
void curve_print(const char *path, const float *losses, int64_t count); /* one a line */

#endif
