/* Slicing by eight (Kounavis and Berry 2005), used where the processor has no CRC instructions:
 * table k holds the effect of a byte that is followed by k more bytes, so eight independent
 * look-ups replace a chain of eight dependent ones. */
#include "base/crc32.h"

#include "base/cpu.h"

#define POLYNOMIAL 0xedb88320u /* of ISO 3309, bits reversed */

void crc32_init(struct crc32 *crc)
{
    crc->by_tables = false;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ ((value & 1) != 0 ? POLYNOMIAL : 0);
        crc->tables[0][i] = value;
    }
    for (uint32_t k = 1; k < 8; k++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = crc->tables[k - 1][i];
            crc->tables[k][i] = (value >> 8) ^ crc->tables[0][value & 0xff];
        }
    }
}

static uint32_t add_by_tables(const struct crc32 *crc, uint32_t sum, const uint8_t *at, size_t size)
{
    const uint32_t(*t)[256] = crc->tables;
    for (; size >= 8; at += 8, size -= 8) {
        sum ^=
            (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        sum = t[7][sum & 0xff] ^ t[6][sum >> 8 & 0xff] ^ t[5][sum >> 16 & 0xff] ^ t[4][sum >> 24] ^
              t[3][at[4]] ^ t[2][at[5]] ^ t[1][at[6]] ^ t[0][at[7]];
    }
    for (; size > 0; at++, size--)
        sum = (sum >> 8) ^ t[0][(sum ^ *at) & 0xff];
    return sum;
}

uint32_t crc32_more(const struct crc32 *crc, uint32_t of, const void *data, size_t size)
{
    uint32_t sum = ~of;
    size_t done = crc->by_tables ? 0 : cpu_crc32(&sum, data, size);
    return ~add_by_tables(crc, sum, (const uint8_t *)data + done, size - done);
}

uint32_t crc32_of(const struct crc32 *crc, const void *data, size_t size)
{
    return crc32_more(crc, 0, data, size);
}
