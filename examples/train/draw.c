/* Images of digits: seven segments, moved by a few pixels, with noise. */
#include "draw.h"

#include "random.h"

int draw_digit(float *image, uint64_t seed)
{
    static const uint8_t segments[DRAW_CLASSES] = {0x77, 0x24, 0x5d, 0x6d, 0x2e,
                                                   0x6b, 0x7b, 0x25, 0x7f, 0x6f};
    static const int line[7][4] = {/* left, top, width, height */
                                   {4, 3, 9, 1},  {4, 3, 1, 9},   {12, 3, 1, 9}, {4, 11, 9, 1},
                                   {4, 11, 1, 9}, {12, 11, 1, 9}, {4, 19, 9, 1}};
    uint64_t bits = random_mix(seed);
    int digit = (int)(bits % DRAW_CLASSES), right = (int)(bits >> 16 & 0xffff) % 12 - 3;
    int down = (int)(bits >> 32 & 0xffff) % 6;
    for (int i = 0; i < DRAW_PIXELS; i++)
        image[i] = 0.4F * random_unit(random_mix(bits + (uint64_t)i));
    for (int s = 0; s < 7; s++)
        for (int j = 0; j < line[s][3] && segments[digit] >> s & 1; j++)
            for (int i = 0; i < line[s][2]; i++)
                image[(line[s][1] + down + j) * DRAW_SIDE + line[s][0] + right + i] += 0.6F;
    return digit;
}
