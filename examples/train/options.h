/* The command line of the training programs, and how they fail.
 *
 *     PROGRAM NET.urza STEP.urza KEY [FILE…] [--steps N] [--threads N] [--batch N] [--length N]
 *             [--lr X] [--seed N] [--checkpoint FILE] [--every N] [--resume FILE] [--svg FILE]
 *             [--losses FILE]
 *
 * NET is the block's package and STEP that of its training step, both signed by KEY. */
#ifndef EXAMPLES_TRAIN_OPTIONS_H
#define EXAMPLES_TRAIN_OPTIONS_H

#include <stdint.h>

struct options {
    const char *net, *step;
    uint8_t key[1][32];
    char **files; /* what stands behind the key */
    int file_count;
    int64_t steps;  /* the run ends when so many were made, those before a checkpoint included */
    int64_t every;  /* a checkpoint after each so many steps, and at the end; 0: at the end only */
    int64_t batch;  /* the named dim B; 0: what the package says is typical */
    int64_t length; /* the named dim T; as batch */
    uint32_t threads;
    uint64_t seed; /* of the data's order */
    float lr;
    const char *checkpoint, *resume, *svg, *losses; /* files; NULL: none */
};

/* Ends the program when the command line is wrong; usage names the program and its files. The
 * defaults of steps and lr are what *out holds. Strings stay those of argv. */
void options_parse(struct options *out, int argc, char **argv, const char *usage);

__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

#endif
