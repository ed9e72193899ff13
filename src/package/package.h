/* The package: one file that holds a compiled blueprint.
 *
 * A ZIP archive that any tool can list: entries stored (not compressed), data aligned to 64 bytes,
 * no timestamps, no extra fields but the alignment padding, so that equal contents give equal
 * bytes. The reader accepts exactly the archives that the writer makes (it derives every header
 * byte again), so a flipped bit anywhere is refused.
 *
 * - manifest.json: canonical JSON; lists the SHA-256 of every entry that follows from the input;
 *   its own SHA-256 is the kernel id.
 * - blueprint.json: the blueprint in the native dialect, canonical.
 * - graph: the graph of primitives before optimisation, in text form; the interpreter runs it.
 * - plan/TARGET: the plan (plan.h); code/TARGET: the flat image, position independent;
 *   optimised/TARGET: the graph whose values the plan's buffers hold, in text form.
 * - training: of a block with a backward pass, the package of its training step, unsigned and
 *   without evidence: a graph whose inputs are those of the block, its params, and cotangents of
 * its outputs, and whose outputs are those of the block, and gradients. It has no params.
 * - params.safetensors: parameters in PyTorch's orientation, widest dtype first, without gaps.
 * - evidence.json: figures; not part of the id.
 * - signature: {"key", "signature"}, Ed25519 over SHA-256(manifest) ‖ SHA-256(evidence); absent
 *   when the package is unsigned.
 *
 * The writer borrows its arguments; a package that was read borrows the bytes it was read from. */
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
    /* The graph that was cut into the plan's kernels, in text form. The verifier parses it to judge
     * kernels; the runtime does not. Borrowed. */
    const char *optimised;
    size_t optimised_bytes;
    const uint8_t *code; /* the code image; borrowed */
    size_t code_bytes;
    uint32_t kernel_count;
    const uint32_t *kernel_offsets; /* offset of each kernel's entry point in the image */
    const char *const *kernel_names;
    const char *const *kernel_configs; /* schedule steps of each kernel, text */
};

struct package_param {
    enum dtype dtype;
    const void *data; /* dense row-major, aligned to its elements inside the package; borrowed */
    size_t data_bytes;
};

struct package_contents {
    char id[KERNEL_ID_BYTES]; /* the kernel id of a package that was read; package_write returns the
                                 id instead */
    const char *name;
    const char *compiler; /* version string of the compiler */
    const char *strategy; /* "fast" … */
    struct graph graph;
    const char *blueprint_json; /* canonical */
    size_t blueprint_bytes;
    struct package_param *params;                   /* in the graph's param order */
    uint32_t target_count;                          /* 0: interpreter only */
    struct package_target targets[PACKAGE_TARGETS]; /* no name twice */
    const char *evidence_json;                      /* canonical; "{}" when there is none */
    size_t evidence_bytes;
    const void *training; /* the package of the training step; NULL: none. Borrowed */
    size_t training_bytes;
    const struct package_contents *step; /* what is in it; only of a package that was read */
};

/* Names in the graph of a training step, behind these prefixes those of the block's outputs, and
 * of its inputs and params. */
#define PACKAGE_COTANGENT "cotangent."
#define PACKAGE_GRAD "grad."

struct signing_key;

/* Appends the whole archive to *out; key NULL leaves it unsigned. out_id receives the kernel id.
 * The same contents and key give the same bytes. Fails where package_read would refuse the result:
 * ERR_PACKAGE, ERR_LIMIT (an archive has at most LIMIT_PACKAGE_BYTES), ERR_BLUEPRINT
 * (guards_complete). */
bool package_write(const struct package_contents *contents, const struct signing_key *key,
                   struct strbuf *out, char out_id[KERNEL_ID_BYTES], struct error *err);

enum package_trust { TRUST_REQUIRE = 1, TRUST_ALLOW_UNSIGNED };

struct trusted_keys {
    const uint8_t (*keys)[32]; /* Ed25519 public keys */
    uint32_t count;
};

/* Which packages are accepted. */
struct trust {
    enum package_trust policy;
    const struct trusted_keys *keys; /* NULL: no key is trusted */
};

/* Whether a file is meant to be a package: a ZIP archive that begins with the manifest, unlike
 * those of PyTorch. It may be damaged. */
bool package_looks_like(const void *bytes, size_t size);

/* Verifies and parses: container, hashes of all entries, signature by the policy (where unsigned
 * packages are allowed, a signature that is present must still be valid and trusted), manifest,
 * graph, plans. bytes must stay valid and unchanged while contents is used, and be 64-aligned for
 * code and params to be aligned. Everything else lives in arena. The plans point to
 * out->graph.dims, so *out must not be moved. ERR_PACKAGE, ERR_SIGNATURE, ERR_LIMIT; place names
 * the entry. */
bool package_read(const void *bytes, size_t size, const struct trust *trust, struct arena *arena,
                  struct package_contents *out, struct error *err);

/* Prints params.safetensors from the graph's params, widest dtype first, so that each tensor is
 * aligned to its elements. ERR_PACKAGE when the shape of a param is not constant or its data has
 * the wrong size, ERR_LIMIT when it is too large. */
bool params_write(const struct graph *graph, const struct package_param *params, struct strbuf *out,
                  struct error *err);

/* The bytes of one entry of an archive; only the container is checked, not the rest of the package.
 * For inspection. */
bool package_entry(const void *bytes, size_t size, const char *name, const uint8_t **out_data,
                   size_t *out_size, struct error *err);

/* Guards, decided before any code is mapped: bind named dims from input shapes and from the
 * elements that tell dims (graph/element.h), and check ranges, multiples, ranks and dtypes.
 * ERR_INPUT names the input and the dim. Allocates nothing. */
struct guard_input {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
    /* Elements of an input some of which tell dims, as many as elements_of_input says; NULL for
     * others. */
    const int64_t *integers;
};
bool guards_bind(const struct graph *graph, const struct guard_input *inputs, uint32_t input_count,
                 int64_t out_dims[LIMIT_NAMED_DIMS], struct error *err);
/* The steps of guards_bind, where only some tensors are there: what the sizes of one (an input, or
 * an output's cotangent) tell of named dims, and what an element of an input does. Both set the
 * values that are told, by name, and their bits in *bound, and leave the others; sizes that no name
 * explains are not checked. An element's rule may read any of the values. */
bool guards_bind_shape(const struct graph *graph, value_id value, const struct guard_input *given,
                       int64_t *values, uint64_t *bound, struct error *err);
bool guards_bind_element(const struct graph *graph, const struct graph_element *element,
                         const struct guard_input *given, int64_t *values, uint64_t *bound,
                         struct error *err);
/* Whether for every named dim some input dim is an expression of it alone, from which its value
 * follows, or an element tells it. Blueprints must ensure this; packages for which it fails are
 * refused. ERR_BLUEPRINT. */
bool guards_complete(const struct graph *graph, struct error *err);

/* Targets as data (targets.def): a name and the CPU features that it requires. */
bool target_supported_here(const char *name);  /* by this CPU; false for an unknown name */
bool target_of_this_family(const char *name);  /* whether it is a target for this processor family;
                                                  false for an unknown name */
const char *target_best_here(void);            /* the highest that this CPU supports; NULL: none */
int target_rank(const char *name);             /* higher is better; -1 for an unknown name */
const char *target_name_at(uint32_t index);    /* NULL after the last */
const char *target_features(const char *name); /* separated by spaces; NULL for an unknown name */

/* Keys: $home/keys/signing.pem (0600, made at first use) and $home/keys/trusted/NAME.pub (64 hex
 * digits). The local signing key is always trusted. The caller passes home (commands take it from
 * the environment). ERR_SIGNATURE if a file, or a folder above it up to home, belongs to another
 * user than this one and root, or is writable by others. */
struct signing_key {
    uint8_t private_key[32], public_key[32];
};
/* Makes the key when it is missing. ERR_IO; ERR_SIGNATURE when the file is not a key or readable by
 * others. */
bool keys_open(const char *home, struct signing_key *out, struct error *err);
/* Creates nothing. ERR_SIGNATURE if a file NAME.pub is not a key; ERR_LIMIT above 1024 keys. */
bool keys_trusted(const char *home, struct arena *arena, struct trusted_keys *out,
                  struct error *err);
/* name: at most 64 of [A-Za-z0-9._-], no leading dot (ERR_USAGE). Trusting a name again replaces
 * its key; distrusting an unknown one is ERR_NOT_FOUND. */
bool keys_trust(const char *home, const char *name, const uint8_t public_key[32],
                struct error *err);
bool keys_distrust(const char *home, const char *name, struct error *err);

#endif
