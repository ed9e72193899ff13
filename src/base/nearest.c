/* The edit distance of names. */
#include "base/nearest.h"

#include <stddef.h>
#include <string.h>

#define NAME_MAX_BYTES 64

/* Edit distance: letters to insert, delete or replace; the maximum for words longer than any
 * name. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_BYTES], width = strlen(b);
    if (width >= NAME_MAX_BYTES || strlen(a) >= NAME_MAX_BYTES)
        return NAME_MAX_BYTES;
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t corner = row[0]++;
        for (size_t j = 0; j < width; j++) {
            size_t least = corner + (a[i] != b[j]);
            corner = row[j + 1];
            least = corner + 1 < least ? corner + 1 : least;
            row[j + 1] = row[j] + 1 < least ? row[j] + 1 : least;
        }
    }
    return row[width];
}

bool name_is_nearer(const char *given, const char *a, const char *b)
{
    size_t length = strlen(given);
    bool begins_a = strncmp(a, given, length) == 0, begins_b = strncmp(b, given, length) == 0;
    if (begins_a != begins_b)
        return begins_a;
    return distance(given, a) < distance(given, b);
}

const char *name_nearest(const char *given, const char *(*name_at)(uint32_t index))
{
    const char *best = name_at(0);
    for (uint32_t i = 1; name_at(i); i++)
        if (name_is_nearer(given, name_at(i), best))
            best = name_at(i);
    return best;
}
