/* The package: one file that holds a compiled blueprint.
 *
 * A ZIP archive that any tool can list: entries stored (not compressed), data aligned to 64 bytes,
 * no timestamps, no extra fields but the alignment padding, so that the same content is the same
 * bytes. The reader accepts exactly what the writer makes (it re-derives every header byte), so a
 * flipped bit anywhere is refused.
 *
 * - manifest.json: canonical JSON; lists the SHA-256 of every entry that follows from the input;
 *   its own SHA-256 is the kernel id.
 * - blueprint.json: the blueprint in the native dialect, canonical.
 * - graph: the optimised-from graph in text form, what the interpreter runs.
 * - plan/TARGET: the plan (plan.h); code/TARGET: the flat image, position independent;
 *   optimised/TARGET: the graph whose values the plan's buffers hold, in text form.
 * - params.safetensors: parameters in PyTorch's orientation, widest dtype first, without gaps.
 * - evidence.json: figures; not part of the id.
 * - signature: {"key", "signature"}, Ed25519 over SHA-256(manifest) ‖ SHA-256(evidence); absent
 *   when the package is unsigned.
 *
 * Writing owns nothing it is given; a read package borrows the bytes it was read from. */
#ifndef URZA_PACKAGE_PACKAGE_H
#define URZA_PACKAGE_PACKAGE_H

#include "base/hash.h"
#include "base/limits.h"
#include "graph/graph.h"
#include "package/plan.h"

struct error;
struct strbuf;

#define KERNEL_ID_BYTES (7 + SHA256_HEX_BYTES) /* "kernel-" + 64 digits + terminator */
#define PACKAGE_FORMAT "urza.package/1"
#define PACKAGE_TARGETS 8

/* Code for one target, as the manifest describes it. */
struct package_target {
    const char *name; /* "x86-64-v4": a row of package/targets.def, never a CPU model */
    struct plan plan;
    /* The graph that was cut into the plan's kernels, in text form: who judges kernels parses it,
     * who runs them does not. Borrowed. */
    const char *optimised;
    size_t optimised_bytes;
    const uint8_t *code; /* the image; borrowed */
    size_t code_bytes;
    uint32_t kernel_count;
    const uint32_t *kernel_offsets; /* of each kernel's entry inside the image */
    const char *const *kernel_names;
    const char *const *kernel_configs; /* schedule steps of each kernel, text */
};

struct package_param {
    enum dtype dtype;
    const void *data; /* dense row-major, aligned to its elements inside the package; borrowed */
    size_t data_bytes;
};

struct package_contents {
    char id[KERNEL_ID_BYTES]; /* the kernel's, of one that was read; who writes has it beside */
    const char *name;
    const char *compiler; /* version string of the compiler */
    const char *strategy; /* "fast" … */
    struct graph graph;
    const char *blueprint_json; /* canonical */
    size_t blueprint_bytes;
    struct package_param *params;                   /* by the graph's param order */
    uint32_t target_count;                          /* 0: interpreter only */
    struct package_target targets[PACKAGE_TARGETS]; /* each name once */
    const char *evidence_json;                      /* canonical; "{}" when there is none */
    size_t evidence_bytes;
};

struct signing_key;

/* Appends the whole archive to *out; key NULL leaves it unsigned. out_id receives the kernel id.
 * The same contents and key give the same bytes. Refuses what package_read would: ERR_PACKAGE,
 * ERR_LIMIT (an archive has at most LIMIT_PACKAGE_BYTES), ERR_BLUEPRINT (guards_complete). */
bool package_write(const struct package_contents *contents, const struct signing_key *key,
                   struct strbuf *out, char out_id[KERNEL_ID_BYTES], struct error *err);

enum package_trust { TRUST_REQUIRE = 1, TRUST_ALLOW_UNSIGNED };

struct trusted_keys {
    const uint8_t (*keys)[32]; /* Ed25519 public keys */
    uint32_t count;
};

/* Whose packages are taken. */
struct trust {
    enum package_trust policy;
    const struct trusted_keys *keys; /* NULL: nobody's signature */
};

/* Verifies and parses: container, hashes of all entries, signature under the policy (a present
 * signature must be right and trusted even where unsigned packages are allowed), manifest, graph,
 * plans. bytes must stay valid and unchanged while contents is used, and be 64-aligned for code and
 * params to be aligned. Everything else lives in arena. The plans point at out->graph.dims, so *out
 * must stay where it is. ERR_PACKAGE, ERR_SIGNATURE, ERR_LIMIT; place names the entry. */
bool package_read(const void *bytes, size_t size, const struct trust *trust, struct arena *arena,
                  struct package_contents *out, struct error *err);

/* params.safetensors of the graph's params, widest dtype first so that each tensor is aligned to
 * its elements. ERR_PACKAGE when a param has no constant shape or its data another size, ERR_LIMIT
 * when it is too large. */
bool params_write(const struct graph *graph, const struct package_param *params, struct strbuf *out,
                  struct error *err);

/* One entry's bytes of an archive that need not be otherwise valid beyond its container; for
 * inspection. */
bool package_entry(const void *bytes, size_t size, const char *name, const uint8_t **out_data,
                   size_t *out_size, struct error *err);

/* Guards, decidable before anything is mapped: binds named dims from input shapes and checks
 * ranges, multiples, ranks and dtypes. ERR_INPUT names the input and the dim. Allocates nothing. */
struct guard_input {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
};
bool guards_bind(const struct graph *graph, const struct guard_input *inputs, uint32_t input_count,
                 int64_t out_dims[LIMIT_NAMED_DIMS], struct error *err);
/* Whether every named dim is bound by some input dim that is just its name (a blueprint must ensure
 * it; packages are refused otherwise). ERR_BLUEPRINT. */
bool guards_complete(const struct graph *graph, struct error *err);

/* Targets as data (targets.def): name and the CPU features it requires. */
bool target_supported_here(const char *name);  /* by this CPU; false for an unknown name */
bool target_of_this_family(const char *name);  /* of processors; false for an unknown name */
const char *target_best_here(void);            /* the highest that this CPU supports; NULL: none */
int target_rank(const char *name);             /* higher is better; -1 for an unknown name */
const char *target_name_at(uint32_t index);    /* NULL behind the last */
const char *target_features(const char *name); /* separated by spaces; NULL for an unknown name */

/* Keys: $home/keys/signing.pem (0600, made at first use) and $home/keys/trusted/NAME.pub (64 hex
 * digits). The local signing key is always trusted. home is the caller's (a command reads the
 * environment). What another user owns, root apart, or others may write to, files and their folders
 * from home on, is ERR_SIGNATURE. */
struct signing_key {
    uint8_t private_key[32], public_key[32];
};
/* Makes the key when it is missing. ERR_IO; ERR_SIGNATURE when the file is no key or others may
 * read it. */
bool keys_open(const char *home, struct signing_key *out, struct error *err);
/* Makes nothing. A file NAME.pub that is no key is ERR_SIGNATURE; ERR_LIMIT beyond 1024 keys. */
bool keys_trusted(const char *home, struct arena *arena, struct trusted_keys *out,
                  struct error *err);
/* name: at most 64 of [A-Za-z0-9._-], no leading dot (ERR_USAGE). Trusting a name again replaces
 * its key; distrusting an unknown one is ERR_NOT_FOUND. */
bool keys_trust(const char *home, const char *name, const uint8_t public_key[32],
                struct error *err);
bool keys_distrust(const char *home, const char *name, struct error *err);

#endif
