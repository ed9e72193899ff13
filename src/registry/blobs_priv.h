/* The drivers of objects. */
#ifndef URZA_REGISTRY_BLOBS_PRIV_H
#define URZA_REGISTRY_BLOBS_PRIV_H

#include "registry/blobs.h"

extern const struct blobs_driver blobs_memory, blobs_files;

/* Milliseconds since 1970. */
int64_t blobs_now_ms(void);

#endif
