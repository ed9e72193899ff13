/* Writing and reading whole packages.
 *
 * The reader checks everything before it is used, in this order: the container (every header byte
 * and CRC), the signature over manifest and evidence, the hashes of all other entries in the
 * manifest, the content of the entries, and last the manifest against that content. So every byte
 * is covered by a comparison: names and headers by the container, manifest and evidence by the
 * signature, the rest by the manifest.
 *
 * Entries have a fixed order: manifest.json, blueprint.json, graph, then plan/T, code/T and
 * optimised/T for each target in the manifest's order, training if there is one,
 * params.safetensors, evidence.json, signature. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define MANIFEST "manifest.json"
#define BLUEPRINT "blueprint.json"
#define GRAPH "graph"
#define TRAINING "training"
#define PARAMS "params.safetensors"
#define EVIDENCE "evidence.json"
#define SIGNATURE "signature"

#define KEY_HEX_BYTES 65 /* with the terminator */
#define SIGNATURE_HEX_BYTES 129
#define MESSAGE_BYTES ((size_t)(2 * SHA256_BYTES))

/* Names the entry in the error, and makes the error "the package is damaged", whatever was wrong
 * with the content. */
static bool refuse(struct error *err, const char *entry)
{
    if (err->code != ERR_LIMIT && err->code != ERR_NOMEM && err->code != ERR_SIGNATURE)
        err->code = ERR_PACKAGE;
    return fail_at(err, "%s", entry);
}

static const char *target_entry(struct arena *arena, const char *folder, const char *target)
{
    struct strbuf name;
    strbuf_init(&name, arena);
    strbuf_printf(&name, "%s/%s", folder, target);
    return name.data;
}

static bool listed(const struct zip_entry *entry)
{
    static const char *const others[] = {MANIFEST, EVIDENCE, SIGNATURE};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strlen(others[i]) == entry->name_bytes &&
            memcmp(others[i], entry->name, entry->name_bytes) == 0)
            return false;
    return true;
}

/* Hashes all entries that the manifest lists. */
static struct entry_hashes *hash_entries(const struct zip *zip, struct arena *arena)
{
    struct entry_hashes *hashes = ARENA_NEW(arena, struct entry_hashes);
    for (uint32_t i = 0; i < zip->count; i++) {
        const struct zip_entry *entry = &zip->entries[i];
        if (!listed(entry))
            continue;
        struct entry_hash *hash = &hashes->items[hashes->count++];
        memcpy(hash->name, entry->name, entry->name_bytes);
        if (entry->pieces)
            sha256_hex_pieces(entry->pieces, entry->piece_count, hash->hex);
        else
            sha256_hex(entry->data, entry->size_bytes, hash->hex);
    }
    return hashes;
}

static void kernel_id(const void *manifest, size_t size, char out_id[KERNEL_ID_BYTES])
{
    memcpy(out_id, "kernel-", 7);
    sha256_hex(manifest, size, out_id + 7);
}

static void signed_message(const void *manifest, size_t manifest_bytes, const void *evidence,
                           size_t evidence_bytes, uint8_t out[MESSAGE_BYTES])
{
    sha256(manifest, manifest_bytes, out);
    sha256(evidence, evidence_bytes, out + SHA256_BYTES);
}

static void print_signature(const char key[KEY_HEX_BYTES], const char hex[SIGNATURE_HEX_BYTES],
                            struct strbuf *out)
{
    strbuf_printf(out, "{\"key\":\"%s\",\"signature\":\"%s\"}", key, hex);
}

/* Conditions between the graph and the code of each target; checked on writing and on reading. */
static bool check_targets(const struct package_contents *contents, struct error *err)
{
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        if (!target_features(target->name))
            return fail(err, ERR_PACKAGE, "unknown target '%s'", target->name);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(contents->targets[k].name, target->name) == 0)
                return fail(err, ERR_PACKAGE, "target '%s' stands twice", target->name);
        if (!plan_check_graph(&target->plan, &contents->graph, err))
            return fail_at(err, "target '%s'", target->name);
        if (target->kernel_count != target->plan.kernel_count)
            return fail(err, ERR_PACKAGE, "target '%s' has %u kernels, its plan %u", target->name,
                        target->kernel_count, target->plan.kernel_count);
        for (uint32_t k = 0; k < target->kernel_count; k++)
            if (target->kernel_offsets[k] >= target->code_bytes)
                return fail(err, ERR_PACKAGE, "target '%s': kernel %u lies behind the code",
                            target->name, k);
    }
    return true;
}

static bool check_canonical(const char *text, size_t size, struct arena *arena, struct error *err)
{
    json_t *root = json_read(text, size, err);
    if (!root)
        return false;
    struct strbuf canonical;
    strbuf_init(&canonical, arena);
    json_write_canonical(root, &canonical);
    json_decref(root);
    return (canonical.size_bytes == size && memcmp(canonical.data, text, size) == 0) ||
           fail(err, ERR_PACKAGE, "the text is not canonical JSON");
}

static struct strbuf *new_text(struct arena *arena)
{
    struct strbuf *text = ARENA_NEW(arena, struct strbuf);
    strbuf_init(text, arena);
    return text;
}

/* Adds every entry that the manifest lists. */
static bool add_entries(const struct package_contents *contents, struct zip *zip,
                        struct arena *arena, struct error *err)
{
    if (!check_canonical(contents->blueprint_json, contents->blueprint_bytes, arena, err))
        return refuse(err, BLUEPRINT);
    zip_add(zip, BLUEPRINT, contents->blueprint_json, contents->blueprint_bytes);
    struct strbuf *graph = new_text(arena);
    graph_print(&contents->graph, graph);
    zip_add(zip, GRAPH, graph->data, graph->size_bytes);
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        struct strbuf *plan = new_text(arena);
        plan_print(&target->plan, plan);
        zip_add(zip, target_entry(arena, "plan", target->name), plan->data, plan->size_bytes);
        zip_add(zip, target_entry(arena, "code", target->name), target->code, target->code_bytes);
        zip_add(zip, target_entry(arena, "optimised", target->name), target->optimised,
                target->optimised_bytes);
    }
    if (contents->training)
        zip_add(zip, TRAINING, contents->training, contents->training_bytes);
    struct bytes_piece *params;
    uint32_t count;
    if (!params_pieces(&contents->graph, contents->params, arena, &params, &count, err))
        return refuse(err, PARAMS);
    zip_add_pieces(zip, PARAMS, params, count);
    return true;
}

static bool add_signature(const struct signing_key *key, const struct zip_entry *manifest,
                          const struct package_contents *contents, struct zip *zip,
                          struct arena *arena, struct error *err)
{
    uint8_t message[MESSAGE_BYTES], signature[ED25519_SIGNATURE_BYTES];
    char key_hex[KEY_HEX_BYTES], signature_hex[SIGNATURE_HEX_BYTES];
    signed_message(manifest->data, manifest->size_bytes, contents->evidence_json,
                   contents->evidence_bytes, message);
    if (!sign_message(key->private_key, message, sizeof message, signature, err))
        return false;
    if (!sign_verify(key->public_key, message, sizeof message, signature, err))
        return fail_at(err, "the signing key, whose halves may not belong together");
    hex_encode(key->public_key, sizeof key->public_key, key_hex);
    hex_encode(signature, sizeof signature, signature_hex);
    struct strbuf *text = new_text(arena);
    print_signature(key_hex, signature_hex, text);
    zip_add(zip, SIGNATURE, text->data, text->size_bytes);
    return true;
}

/* Bytes of a package, or of the training step in one, which has none itself. */
struct archive {
    const void *bytes;
    size_t size;
    const struct trust *trust;
    bool nested;
};

static bool read_archive(const struct archive *archive, struct arena *arena,
                         struct package_contents *out, struct error *err);

/* Reads the package of a training step; NULL on failure. */
static const struct package_contents *read_training(const struct package_contents *block,
                                                    struct arena *arena, struct error *err)
{
    static const struct trust unsigned_too = {TRUST_ALLOW_UNSIGNED, NULL};
    struct package_contents *step = ARENA_NEW(arena, struct package_contents);
    const struct archive archive = {block->training, block->training_bytes, &unsigned_too, true};
    if (read_archive(&archive, arena, step, err) && training_check(block, step, err))
        return step;
    refuse(err, TRAINING);
    return NULL;
}

bool package_write(const struct package_contents *contents, const struct signing_key *key,
                   struct strbuf *out, char out_id[KERNEL_ID_BYTES], struct error *err)
{
    struct arena *arena = out->arena;
    struct zip *zip = ARENA_NEW(arena, struct zip);
    if (!guards_complete(&contents->graph, err) || !check_targets(contents, err) ||
        (contents->training && !read_training(contents, arena, err)))
        return false;
    zip_add(zip, MANIFEST, NULL, 0);
    if (!add_entries(contents, zip, arena, err))
        return false;
    struct strbuf *text = new_text(arena);
    manifest_print(contents, hash_entries(zip, arena), text);
    struct zip_entry *manifest = &zip->entries[0];
    manifest->data = (const uint8_t *)text->data;
    manifest->size_bytes = text->size_bytes;
    if (!check_canonical(contents->evidence_json, contents->evidence_bytes, arena, err))
        return refuse(err, EVIDENCE);
    zip_add(zip, EVIDENCE, contents->evidence_json, contents->evidence_bytes);
    if (key && !add_signature(key, manifest, contents, zip, arena, err))
        return false;
    if (!zip_write(zip, out, err))
        return false;
    kernel_id(text->data, text->size_bytes, out_id);
    return true;
}

static bool is_trusted(const struct trusted_keys *trusted, const uint8_t key[32])
{
    for (uint32_t i = 0; trusted && i < trusted->count; i++)
        if (memcmp(trusted->keys[i], key, 32) == 0)
            return true;
    return false;
}

/* Parses key and signature; the text must be exactly what print_signature prints for them. */
static bool parse_signature(const struct zip_entry *entry, struct arena *arena, uint8_t out_key[32],
                            uint8_t out_signature[ED25519_SIGNATURE_BYTES])
{
    enum { KEY_AT = 8, SIGNATURE_AT = KEY_AT + 64 + 15, TEXT_BYTES = SIGNATURE_AT + 128 + 2 };
    if (entry->size_bytes != TEXT_BYTES)
        return false;
    const char *text = (const char *)entry->data;
    const char *key = arena_strndup(arena, text + KEY_AT, KEY_HEX_BYTES - 1);
    const char *signature = arena_strndup(arena, text + SIGNATURE_AT, SIGNATURE_HEX_BYTES - 1);
    struct strbuf again;
    strbuf_init(&again, arena);
    print_signature(key, signature, &again);
    return again.size_bytes == TEXT_BYTES && memcmp(again.data, text, TEXT_BYTES) == 0 &&
           hex_decode(key, out_key, 32) &&
           hex_decode(signature, out_signature, ED25519_SIGNATURE_BYTES);
}

static bool check_signature(const struct zip *zip, const struct trust *trust, struct arena *arena,
                            struct error *err)
{
    const struct zip_entry *manifest = zip_find(zip, MANIFEST);
    const struct zip_entry *evidence = zip_find(zip, EVIDENCE);
    const struct zip_entry *entry = zip_find(zip, SIGNATURE);
    if (!manifest || !evidence)
        return fail(err, ERR_PACKAGE, "there is no %s", manifest ? EVIDENCE : MANIFEST);
    if (!entry)
        return trust->policy == TRUST_ALLOW_UNSIGNED ||
               fail(err, ERR_SIGNATURE, "the package is not signed");
    uint8_t key[32], signature[ED25519_SIGNATURE_BYTES], message[MESSAGE_BYTES];
    if (!parse_signature(entry, arena, key, signature)) {
        fail(err, ERR_SIGNATURE, "the text is no signature");
        return refuse(err, SIGNATURE);
    }
    if (!is_trusted(trust->keys, key)) {
        fail(err, ERR_SIGNATURE, "the key that signed is not trusted");
        return refuse(err, SIGNATURE);
    }
    signed_message(manifest->data, manifest->size_bytes, evidence->data, evidence->size_bytes,
                   message);
    return sign_verify(key, message, sizeof message, signature, err) || refuse(err, SIGNATURE);
}

/* Returns the entry at *index and advances, if it has that name; else NULL. */
static const struct zip_entry *take(const struct zip *zip, uint32_t *index, const char *name,
                                    struct error *err)
{
    const struct zip_entry *entry = &zip->entries[*index];
    if (*index >= zip->count || strlen(name) != entry->name_bytes ||
        memcmp(entry->name, name, entry->name_bytes) != 0) {
        fail(err, ERR_PACKAGE, "the entry is missing or out of order");
        fail_at(err, "%s", name);
        return NULL;
    }
    (*index)++;
    return entry;
}

static bool read_graph(const struct zip_entry *entry, struct arena *arena, struct graph *out,
                       struct error *err)
{
    if (!graph_parse(out, arena, (const char *)entry->data, entry->size_bytes, err) ||
        !guards_complete(out, err))
        return refuse(err, GRAPH);
    return true;
}

static bool read_target(const struct zip *zip, uint32_t *index, struct arena *arena,
                        struct dim_table *dims, struct package_target *target, struct error *err)
{
    const char *plan_name = target_entry(arena, "plan", target->name);
    const struct zip_entry *plan = take(zip, index, plan_name, err);
    if (!plan)
        return false;
    const struct zip_entry *code = take(zip, index, target_entry(arena, "code", target->name), err);
    if (!code)
        return false;
    const struct zip_entry *optimised =
        take(zip, index, target_entry(arena, "optimised", target->name), err);
    if (!optimised)
        return false;
    target->code = code->data;
    target->code_bytes = code->size_bytes;
    target->optimised = (const char *)optimised->data;
    target->optimised_bytes = optimised->size_bytes;
    if (!plan_parse(&target->plan, arena, dims, (const char *)plan->data, plan->size_bytes, err))
        return refuse(err, plan_name);
    return true;
}

static bool is_next(const struct zip *zip, uint32_t index, const char *name)
{
    return index < zip->count && zip->entries[index].name_bytes == strlen(name) &&
           memcmp(zip->entries[index].name, name, strlen(name)) == 0;
}

/* Reads all entries but manifest and signature, in the order of the archive. */
static bool read_entries(const struct zip *zip, bool nested, struct arena *arena,
                         struct package_contents *out, struct error *err)
{
    uint32_t index = 1;
    const struct zip_entry *blueprint = take(zip, &index, BLUEPRINT, err);
    const struct zip_entry *graph = blueprint ? take(zip, &index, GRAPH, err) : NULL;
    if (!graph || !read_graph(graph, arena, &out->graph, err))
        return false;
    for (uint32_t i = 0; i < out->target_count; i++)
        if (!read_target(zip, &index, arena, &out->graph.dims, &out->targets[i], err))
            return false;
    const struct zip_entry *training =
        !nested && is_next(zip, index, TRAINING) ? take(zip, &index, TRAINING, err) : NULL;
    const struct zip_entry *params = take(zip, &index, PARAMS, err);
    const struct zip_entry *evidence = params ? take(zip, &index, EVIDENCE, err) : NULL;
    if (!evidence || (index < zip->count && !take(zip, &index, SIGNATURE, err)))
        return false;
    if (index < zip->count)
        return fail(err, ERR_PACKAGE, "there are more entries than there may be");
    out->params = ARENA_ARRAY(arena, struct package_param, out->graph.params.count);
    if (!params_read(&out->graph, params->data, params->size_bytes, arena, out->params, err))
        return refuse(err, PARAMS);
    if (training) {
        out->training = training->data;
        out->training_bytes = training->size_bytes;
        if (!(out->step = read_training(out, arena, err)))
            return false;
    }
    out->blueprint_json = (const char *)blueprint->data;
    out->blueprint_bytes = blueprint->size_bytes;
    out->evidence_json = (const char *)evidence->data;
    out->evidence_bytes = evidence->size_bytes;
    return true;
}

bool package_looks_like(const void *bytes, size_t size)
{
    enum { NAME_AT = 30 }; /* in the header of an entry, which its length stands before */
    static const char signature[] = "PK\3\4";
    const char *at = bytes;
    return size >= NAME_AT + strlen(MANIFEST) && memcmp(at, signature, strlen(signature)) == 0 &&
           memcmp(at + NAME_AT, MANIFEST, strlen(MANIFEST)) == 0;
}

static bool read_archive(const struct archive *archive, struct arena *arena,
                         struct package_contents *out, struct error *err)
{
    struct zip *zip = ARENA_NEW(arena, struct zip);
    if (!zip_read(archive->bytes, archive->size, zip, err)) {
        if (err->code == ERR_PACKAGE && !package_looks_like(archive->bytes, archive->size))
            fail(err, ERR_PACKAGE,
                 "this is no package: urza compile makes one of a model or a blueprint");
        return false;
    }
    if (!check_signature(zip, archive->trust, arena, err))
        return false;
    uint32_t index = 0;
    const struct zip_entry *manifest = take(zip, &index, MANIFEST, err);
    if (!manifest)
        return false;
    const char *text = (const char *)manifest->data;
    struct entry_hashes *hashes = hash_entries(zip, arena);
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    if (!manifest_parse(text, manifest->size_bytes, hashes, arena, contents, err))
        return refuse(err, MANIFEST);
    if (!read_entries(zip, archive->nested, arena, contents, err))
        return false;
    if (!check_targets(contents, err) ||
        !manifest_check(text, manifest->size_bytes, contents, hashes, arena, err))
        return refuse(err, MANIFEST);
    *out = *contents;
    for (uint32_t i = 0; i < out->target_count; i++)
        out->targets[i].plan.dims = &out->graph.dims;
    kernel_id(text, manifest->size_bytes, out->id);
    return true;
}

bool package_read(const void *bytes, size_t size, const struct trust *trust, struct arena *arena,
                  struct package_contents *out, struct error *err)
{
    return read_archive(&(struct archive){bytes, size, trust, false}, arena, out, err);
}

bool package_entry(const void *bytes, size_t size, const char *name, const uint8_t **out_data,
                   size_t *out_size, struct error *err)
{
    struct zip zip;
    if (!zip_read(bytes, size, &zip, err))
        return false;
    const struct zip_entry *entry = zip_find(&zip, name);
    if (!entry)
        return fail(err, ERR_NOT_FOUND, "the package has no entry '%s'", name);
    *out_data = entry->data;
    *out_size = entry->size_bytes;
    return true;
}
