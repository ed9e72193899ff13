/* A board is one shared word: eight bits for the stage, twice 24 for the numbers. */
#include "base/board.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#define NUMBER_BITS 24
#define NUMBER_MOST ((1u << NUMBER_BITS) - 1)

struct board {
    _Atomic uint64_t word;
};

struct board *board_new(void)
{
    void *map =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

void board_free(struct board *board)
{
    if (board)
        munmap(board, sizeof *board);
}

static uint64_t bounded(uint32_t number)
{
    return number < NUMBER_MOST ? number : NUMBER_MOST;
}

void board_put(struct board *board, enum board_stage stage, uint32_t done, uint32_t total)
{
    if (board)
        atomic_store_explicit(&board->word,
                              (uint64_t)stage << (2 * NUMBER_BITS) | bounded(done) << NUMBER_BITS |
                                  bounded(total),
                              memory_order_relaxed);
}

struct board_state board_get(const struct board *board)
{
    uint64_t word = board ? atomic_load_explicit(&board->word, memory_order_relaxed) : 0,
             stage = word >> (2 * NUMBER_BITS);
    return (struct board_state){stage < BOARD_STAGES ? (enum board_stage)stage : BOARD_NONE,
                                (uint32_t)(word >> NUMBER_BITS) & NUMBER_MOST,
                                (uint32_t)word & NUMBER_MOST};
}

void board_describe(struct board_state state, char *out, uint32_t size)
{
    static const char *const names[BOARD_STAGES] = {
        "", "reading", "optimising", "tuning kernel", "kernel", "verifying"};
    const char *kernel = state.stage == BOARD_VERIFY && state.done > 0 ? " kernel" : "";
    if (state.done == 0)
        snprintf(out, size, "%s", names[state.stage]);
    else
        snprintf(out, size, "%s%s %u of %u", names[state.stage], kernel, state.done, state.total);
}
