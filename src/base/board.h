/* How far a piece of work is, for whoever waits for it.
 *
 * A board is memory that a process shares with the children it forks later: they write what they
 * do, the process reads it. It is one word, so what is read was written at once; of several writers
 * the last counts. Writing is a store: it allocates nothing, waits for nothing, and is allowed
 * wherever memory is. */
#ifndef URZA_BASE_BOARD_H
#define URZA_BASE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

enum board_stage {
    BOARD_NONE,
    BOARD_READ,     /* a source is read */
    BOARD_OPTIMISE, /* a graph is optimised and cut into kernels */
    BOARD_TUNE,     /* kernel `done` of `total` is measured */
    BOARD_GENERATE, /* kernel `done` of `total` gets its code */
    BOARD_VERIFY,   /* kernel `done` of `total` is verified; 0: something else is */
    BOARD_STAGES
};

struct board_state {
    enum board_stage stage;
    uint32_t done, total; /* below 2^24: larger ones are shown as that */
};

struct board;
struct board *board_new(void); /* NULL: there is no memory for it */
void board_free(struct board *board);
/* On NULL nothing happens. */
void board_put(struct board *board, enum board_stage stage, uint32_t done, uint32_t total);
struct board_state board_get(const struct board *board);
/* Prints what people see: "reading", "kernel 3 of 80"; "" for BOARD_NONE. */
void board_describe(struct board_state state, char *out, uint32_t size);

#endif
