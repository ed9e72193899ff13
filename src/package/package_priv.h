/* What the parts of the package share: the container, the manifest, parameters, the signature. */
#ifndef URZA_PACKAGE_PACKAGE_PRIV_H
#define URZA_PACKAGE_PACKAGE_PRIV_H

#include "package/package.h"

struct json_t;

#define ED25519_SIGNATURE_BYTES 64

/* CRC-32 (the polynomial of ZIP). The tables take microseconds to make, so whoever needs them makes
 * them. */
struct crc32 {
    bool by_tables; /* never by what the processor has */
    uint32_t tables[8][256];
};
void crc32_init(struct crc32 *crc);
uint32_t crc32_of(const struct crc32 *crc, const void *data, size_t size);

/* One file of an archive. The writer reads the first four fields; the reader fills all, name and
 * data borrowed from the archive. name is not terminated. */
struct zip_entry {
    const char *name;
    const uint8_t *data;
    size_t size_bytes;
    uint32_t name_bytes; /* 1 … LIMIT_NAME */
    uint32_t crc;        /* of the data */
    uint64_t offset;     /* of the local header inside the archive */
};

/* Start at count 0; ten kilobytes. */
struct zip {
    struct zip_entry entries[LIMIT_PACKAGE_ENTRIES];
    uint32_t count;
};

/* Names are [A-Za-z0-9._/-]+, relative, without empty parts and "..". */
bool zip_name_ok(const char *name, size_t size);
void zip_add(struct zip *zip, const char *name, const void *data, size_t size);
/* Appends the archive. ERR_PACKAGE on a bad or double name, ERR_LIMIT above LIMIT_PACKAGE_BYTES.
 * Fills crc and offset of the entries. */
bool zip_write(struct zip *zip, struct strbuf *out, struct error *err);
/* Accepts exactly what zip_write makes. *zip is undefined after a failure. ERR_PACKAGE, ERR_LIMIT.
 */
bool zip_read(const void *bytes, size_t size, struct zip *zip, struct error *err);
/* The same with another number than UINT32_MAX from which sizes and offsets take their ZIP64 form;
 * a small one shows that form without 4 GiB of data. */
bool zip_write_wide(struct zip *zip, uint64_t wide_from, struct strbuf *out, struct error *err);
bool zip_read_wide(const void *bytes, size_t size, uint64_t wide_from, struct zip *zip,
                   struct error *err);
const struct zip_entry *zip_find(const struct zip *zip, const char *name); /* NULL if there is none
                                                                            */

/* Parses text and gives its tree to read; the tree is freed behind it, also when arena runs out of
 * memory inside read and jumps. False when either fails. */
typedef bool json_reader(void *context, const struct json_t *root, struct error *err);
bool json_read_into(struct arena *arena, const char *text, size_t size, json_reader *read,
                    void *context, struct error *err);

/* SHA-256 of the entries that the manifest lists, in the archive's order. */
struct entry_hash {
    char name[LIMIT_NAME + 1];
    char hex[SHA256_HEX_BYTES];
};
struct entry_hashes {
    uint32_t count;
    struct entry_hash items[LIMIT_PACKAGE_ENTRIES];
};

/* The manifest says nothing that the entries do not say, but name, compiler, strategy and kernels.
 * So it is checked by making it again. */
void manifest_print(const struct package_contents *contents, const struct entry_hashes *hashes,
                    struct strbuf *out);
/* Reads what only the manifest says into *out (targets without plan and code), after comparing its
 * hashes. ERR_PACKAGE, ERR_LIMIT, ERR_JSON. */
bool manifest_parse(const char *text, size_t size, const struct entry_hashes *hashes,
                    struct arena *arena, struct package_contents *out, struct error *err);
/* Fails (ERR_PACKAGE) and names the first field that is not what the contents say. */
bool manifest_check(const char *text, size_t size, const struct package_contents *contents,
                    const struct entry_hashes *hashes, struct arena *arena, struct error *err);

/* Accepts exactly what params_write makes; out_params (one per param) borrow from bytes. */
bool params_read(const struct graph *graph, const void *bytes, size_t size, struct arena *arena,
                 struct package_param *out_params, struct error *err);

/* The entries a plan names by index are the graph's: buffers of inputs, outputs and params have its
 * dtypes and sizes, and each output is written. ERR_PACKAGE. */
bool plan_check_graph(const struct plan *plan, const struct graph *graph, struct error *err);

/* Ed25519 (RFC 8032) over raw 32-byte keys. ERR_NOMEM; sign_verify: ERR_SIGNATURE. */
/* Wipes what functions that the caller called left of keys on its stack. */
void sign_wipe_stack(void);
bool sign_public(const uint8_t private_key[32], uint8_t out_public_key[32], struct error *err);
bool sign_message(const uint8_t private_key[32], const void *message, size_t size,
                  uint8_t out_signature[ED25519_SIGNATURE_BYTES], struct error *err);
bool sign_verify(const uint8_t public_key[32], const void *message, size_t size,
                 const uint8_t signature[ED25519_SIGNATURE_BYTES], struct error *err);

#endif
