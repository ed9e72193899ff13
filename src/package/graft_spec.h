/* What the package of a graft says of itself (compiler/graft/graft.h): how it blends a seed into a
 * host's value, and which parameters make the seed give nothing.
 *
 * It stands in the blueprint of the package, beside the graft's graph:
 *
 *   "graft": {"blend": "residual",
 *             "chunks": 4,                           the features are so many seeds'; 1: left out
 *             "last": ["fc2.weight", "fc2.bias"]}    params of the seed's last layer: where all of
 *                                                    them are 0, the seed gives 0; none: []
 *
 * The block of a graft has one float input of the host's values, which the seed reads; perhaps
 * "seed", for random numbers; then "h", the host's value, of the same type; then "alpha", [B]. Its
 * only output has h's type. Strings and lists live in the arena that they were read into. */
#ifndef URZA_PACKAGE_GRAFT_SPEC_H
#define URZA_PACKAGE_GRAFT_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct error;
struct package_contents;

#define GRAFT_HOST "h"
#define GRAFT_ALPHA "alpha"

enum graft_blend { GRAFT_RESIDUAL, GRAFT_LERP, GRAFT_MULTIPLY, GRAFT_GATE, GRAFT_BLEND_COUNT };
const char *graft_blend_name(enum graft_blend blend); /* "residual" */
#define GRAFT_BLENDS "residual, lerp, multiply or gate"

struct graft_spec {
    enum graft_blend blend;
    uint32_t chunks; /* from 1 on */
    const char *const *last;
    uint32_t last_count;
};
/* Sets blend and chunks by what a user asks for, "residual" or, in four chunks, "residual/4"; of
 * the rest nothing. ERR_USAGE. */
bool graft_spec_ask(const char *text, struct graft_spec *out, struct error *err);
#define GRAFT_CHUNKS_MOST 65536
/* As JSON; a new reference. */
json_t *graft_spec_json(const struct graft_spec *spec);
/* ERR_JSON: a field is missing, unknown or of another type. */
bool graft_spec_parse(const json_t *object, struct arena *arena, struct graft_spec *out,
                      struct error *err);
/* Of a package: NULL in *out where it is no graft. As graft_spec_parse; ERR_PACKAGE where its block
 * is none of a graft. */
bool graft_spec_of(const struct package_contents *contents, struct arena *arena,
                   const struct graft_spec **out, struct error *err);

#endif
