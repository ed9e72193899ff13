/* Checkpoints: all that steps update, in a file of the safetensors format. */
#ifndef EXAMPLES_TRAIN_CHECKPOINT_H
#define EXAMPLES_TRAIN_CHECKPOINT_H

#include "trainer.h"

/* run: what decides the run's data, in words without quotes; a checkpoint of another run is
 * refused, as going on from it would not give what this run gives. The file is replaced as a whole:
 * whoever looks finds the old one or the new one. */
void checkpoint_save(const char *path, const struct trainer *t, const char *run);
/* Ends the program when a checkpoint could not be written there: better now than after hours. */
void checkpoint_try(const char *path);
/* Ends the program, with nothing changed, when the file is damaged or another run's. */
void checkpoint_load(const char *path, const struct trainer *t, const char *run);

/* FNV-1a; begin with 0. */
uint64_t checksum(uint64_t sum, const void *data, size_t size);

#endif
