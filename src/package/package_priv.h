/* Shared by the files of the package room: the container, the manifest, parameters, the
 * signature. */
#ifndef URZA_PACKAGE_PACKAGE_PRIV_H
#define URZA_PACKAGE_PACKAGE_PRIV_H

#include "base/crc32.h"
#include "package/package.h"

struct json_t;

#define ED25519_SIGNATURE_BYTES 64

/* One file of an archive. The writer takes the first four fields; the reader fills all fields and
 * borrows name and data from the archive. name is not terminated. */
struct zip_entry {
    const char *name;
    const uint8_t *data;
    size_t size_bytes;
    uint32_t name_bytes; /* 1 … LIMIT_NAME */
    uint32_t crc;        /* of the data */
    uint64_t offset;     /* of the local header inside the archive */
    /* Writing: where the data lies if it lies in several places; NULL: in one. */
    const struct bytes_piece *pieces;
    uint32_t piece_count;
};

/* An empty archive has count 0. The struct has ten kilobytes. */
struct zip {
    struct zip_entry entries[LIMIT_PACKAGE_ENTRIES];
    uint32_t count;
};

/* Whether a name consists of [A-Za-z0-9._/-]+, is relative, and has neither empty parts nor
 * "..". */
bool zip_name_ok(const char *name, size_t size);
void zip_add(struct zip *zip, const char *name, const void *data, size_t size);
/* pieces are borrowed until the archive is written. */
void zip_add_pieces(struct zip *zip, const char *name, const struct bytes_piece *pieces,
                    uint32_t count);
/* Appends the archive. ERR_PACKAGE on a bad or double name, ERR_LIMIT above LIMIT_PACKAGE_BYTES.
 * Fills crc and offset of the entries. */
bool zip_write(struct zip *zip, struct strbuf *out, struct error *err);
/* Accepts exactly the archives that zip_write makes. *zip is undefined after a failure.
 * ERR_PACKAGE, ERR_LIMIT.
 */
bool zip_read(const void *bytes, size_t size, struct zip *zip, struct error *err);
/* The same, with zip64_from in place of UINT32_MAX: sizes and offsets from that number on take
 * their ZIP64 form. For tests of that form without 4 GiB of data. */
bool zip_write_zip64(struct zip *zip, uint64_t zip64_from, struct strbuf *out, struct error *err);
bool zip_read_zip64(const void *bytes, size_t size, uint64_t zip64_from, struct zip *zip,
                    struct error *err);
const struct zip_entry *zip_find(const struct zip *zip, const char *name); /* NULL: none */

/* Parses text and passes its tree to read. The tree is freed afterwards, also when the arena runs
 * out of memory inside read and jumps. False when either fails. */
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

/* Only name, compiler, strategy and kernels are found in the manifest alone; everything else in it
 * follows from the entries. So it is checked by printing it again. */
void manifest_print(const struct package_contents *contents, const struct entry_hashes *hashes,
                    struct strbuf *out);
/* Compares its hashes, then reads the fields that only the manifest has into *out (targets without
 * plan and code). ERR_PACKAGE, ERR_LIMIT, ERR_JSON. */
bool manifest_parse(const char *text, size_t size, const struct entry_hashes *hashes,
                    struct arena *arena, struct package_contents *out, struct error *err);
/* Fails with ERR_PACKAGE and the name of the first field that differs from the contents. */
bool manifest_check(const char *text, size_t size, const struct package_contents *contents,
                    const struct entry_hashes *hashes, struct arena *arena, struct error *err);

/* What params_write writes, as pieces: a header, and then the params' own data, which is large. */
bool params_pieces(const struct graph *graph, const struct package_param *params,
                   struct arena *arena, struct bytes_piece **out, uint32_t *out_count,
                   struct error *err);
/* Accepts exactly the bytes that params_write makes; out_params (one per param) borrow from
 * bytes. */
bool params_read(const struct graph *graph, const void *bytes, size_t size, struct arena *arena,
                 struct package_param *out_params, struct error *err);

/* Checks that inputs, outputs and params that a plan's buffers name exist in the graph and have the
 * buffers' dtypes and sizes, and that each output is written. ERR_PACKAGE. */
bool plan_check_graph(const struct plan *plan, const struct graph *graph, struct error *err);

/* training.c: whether a step is one of this block: its sources and results are those of the block,
 * with cotangents and gradients of the right types, and its plans have the two entries, of which
 * the first computes all results of the block and reads no cotangent. ERR_PACKAGE. */
bool training_check(const struct package_contents *block, const struct package_contents *step,
                    struct error *err);

/* Ed25519 (RFC 8032) over raw 32-byte keys. ERR_NOMEM; sign_verify: ERR_SIGNATURE. */
/* Wipes the stack memory that functions called by the caller have used, which may hold key
 * material. */
void sign_wipe_stack(void);
bool sign_public(const uint8_t private_key[32], uint8_t out_public_key[32], struct error *err);
bool sign_message(const uint8_t private_key[32], const void *message, size_t size,
                  uint8_t out_signature[ED25519_SIGNATURE_BYTES], struct error *err);
bool sign_verify(const uint8_t public_key[32], const void *message, size_t size,
                 const uint8_t signature[ED25519_SIGNATURE_BYTES], struct error *err);

#endif
