/* Images of digits: seven segments, moved by a few pixels, with noise. */
#ifndef EXAMPLES_TRAIN_DRAW_H
#define EXAMPLES_TRAIN_DRAW_H

#include <stdint.h>

enum { DRAW_SIDE = 28, DRAW_PIXELS = DRAW_SIDE * DRAW_SIDE, DRAW_CLASSES = 10 };

/* image: DRAW_PIXELS floats, by rows. Returns the digit. One seed, one image. */
int draw_digit(float *image, uint64_t seed);

#endif
