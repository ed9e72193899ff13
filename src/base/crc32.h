/* Checksums of ZIP archives. No shared state. */
#ifndef URZA_BASE_CRC32_H
#define URZA_BASE_CRC32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CRC-32 (the polynomial of ZIP). Making the tables takes microseconds, so each caller makes its
 * own. */
struct crc32 {
    bool by_tables; /* always use the tables, never processor instructions */
    uint32_t tables[8][256];
};
void crc32_init(struct crc32 *crc);
uint32_t crc32_of(const struct crc32 *crc, const void *data, size_t size);
/* The CRC of bytes that were summed up (`of`; 0: none) and those behind them. */
uint32_t crc32_more(const struct crc32 *crc, uint32_t of, const void *data, size_t size);

#endif
